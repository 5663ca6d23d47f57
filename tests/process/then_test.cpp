// SPDX-License-Identifier: BSD-3-Clause
// Futures made of futures: then and when_all.
#include "troupe/thread_pool.hpp"
#include "troupe/wait.hpp"

#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <pthread.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

struct Then : pool_test {
  pool p{{.workers = 2}};
};

TEST_F(Then, GivesTheFutureOfWhatFollows) {
  const int captured = 100;
  future<std::string> f =
      p.apply_async(square, 5).then([&](int x) { return x + captured; }).then([](int x) {
        return std::to_string(x);
      });
  EXPECT_EQ(f.get(), "125");
  EXPECT_EQ(f.get(), "125");
  EXPECT_TRUE(f.successful());
}

TEST_F(Then, TakesAndGivesVoid) {
  int calls = 0;
  future<void> f = p.apply_async([] {}).then([&] { ++calls; });
  f.get();
  EXPECT_EQ(f.then([] { return 7; }).get(), 7);
  EXPECT_EQ(calls, 1);
}

TEST_F(Then, WorksOnAFutureThatIsReady) {
  auto f = p.apply_async(square, 3);
  f.wait();
  EXPECT_EQ(f.then([](int x) { return -x; }).get(), -9);
}

TEST_F(Then, PassesAFailureOnWithoutCallingTheFunction) {
  bool called = false;
  auto f = p.apply_async([]() -> int { throw std::out_of_range{"far"}; }).then([&](int x) {
    called = true;
    return x;
  });
  EXPECT_THROW(f.get(), std::out_of_range);
  EXPECT_THROW(std::rethrow_exception(f.exception()), std::out_of_range);
  EXPECT_FALSE(f.successful());
  EXPECT_FALSE(called);
  auto lost = p.apply_async([]() -> int {
                 ::raise(SIGKILL);
                 return 0;
               }).then([](int x) { return x; });
  EXPECT_THROW(lost.get(), worker_lost);
}

TEST_F(Then, ThatThrowsFailsTheResult) {
  struct own : std::exception {
    const char* what() const noexcept override { return "mine"; }
  };
  auto f = p.apply_async(square, 2).then([](int) -> int { throw own{}; });
  EXPECT_THROW(f.get(), own);  // it never left this process
  std::string text;
  f.on_error([&](const error& e) { text = e.what(); });
  p.close();
  p.join();
  EXPECT_NE(text.find("mine"), std::string::npos) << text;
}

TEST_F(Then, ThatReturnsAFutureIsWaitedFor) {
  future<int> f = p.apply_async(square, 3).then([this](int x) { return p.apply_async(square, x); });
  EXPECT_EQ(f.get(), 81);
  future<int> failing = p.apply_async(square, 3).then(
      [this](int) { return p.apply_async([]() -> int { throw std::out_of_range{"inner"}; }); });
  EXPECT_THROW(failing.get(), std::out_of_range);
  future<int> throwing =
      p.apply_async(square, 3).then([](int) -> future<int> { throw std::out_of_range{"outer"}; });
  EXPECT_THROW(throwing.get(), std::out_of_range);
  future<int> nothing = p.apply_async(square, 3).then([](int) { return future<int>{}; });
  EXPECT_TRUE(fails_with(errc::no_state, [&] { return nothing.get(); }));
}

TEST_F(Then, MovesWhatCannotBeCopied) {
  auto key = std::make_unique<int>(5);
  auto f = p.apply_async(square, 2).then(
      [key = std::move(key)](int x) { return std::make_unique<int>(x + *key); });
  EXPECT_EQ(*f.get(), 9);
  EXPECT_TRUE(fails_with(errc::no_state, [&] { return f.get() != nullptr; }));
}

TEST_F(Then, CancelGoesToTheSource) {
  std::vector<future<int>> busy{p.apply_async(wait_at, file("running"), file("gate")),
                                p.apply_async(wait_at, file("running"), file("gate"))};
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 2; }));
  auto source = p.apply_async(square, 3);
  auto f = source.then([](int x) { return x; });
  EXPECT_FALSE(f.ready());
  EXPECT_FALSE(f.running());
  EXPECT_TRUE(f.cancel());
  EXPECT_THROW(f.get(), cancelled_error);
  EXPECT_TRUE(f.cancelled());
  EXPECT_TRUE(source.cancelled());
  mark(file("gate"));
}

// Issue 11, 34.
TEST_F(Then, ACancelledOneIsReadyWhenCancelReturns) {
  std::vector<future<int>> busy{p.apply_async(wait_at, file("running"), file("gate")),
                                p.apply_async(wait_at, file("running"), file("gate"))};
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 2; }));
  for (int i = 0; i < 200; ++i) {
    bool called = false;
    auto f = p.apply_async(square, i)
                 .then([&](int x) {
                   called = true;
                   return x;
                 })
                 .then([](int x) { return x; });
    ASSERT_TRUE(f.cancel());
    ASSERT_TRUE(f.ready());
    EXPECT_TRUE(f.cancelled());
    EXPECT_THROW(f.get(), cancelled_error);
    EXPECT_FALSE(f.cancel()) << "it has an outcome";
    EXPECT_FALSE(called);
  }
  mark(file("gate"));
}

// Issue 11, 18.
TEST_F(Then, CancelGoesToTheFutureThatTheFunctionReturned) {
  std::vector<future<int>> busy{p.apply_async(wait_at, file("running"), file("gate")),
                                p.apply_async(wait_at, file("running"), file("gate"))};
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 2; }));
  thread_pool threads{{.workers = 1}};
  auto inner = p.apply_async(square, 3);
  std::atomic<bool> called{false};
  auto f = threads.apply_async([] {}).then([&] {
    called = true;
    return inner;
  });
  ASSERT_TRUE(eventually([&] { return called.load(); }));
  EXPECT_TRUE(eventually([&] { return f.cancel() || f.ready(); }));
  EXPECT_TRUE(f.cancelled());
  EXPECT_TRUE(inner.cancelled());
  mark(file("gate"));
}

/// On a thread whose stack holds a few hundred calls.
void on_a_small_stack(const std::function<void()>& run) {
  pthread_attr_t how;
  ASSERT_EQ(::pthread_attr_init(&how), 0);
  constexpr std::size_t stack_bytes = 256 << 10;
  ASSERT_EQ(::pthread_attr_setstacksize(&how, stack_bytes), 0);
  pthread_t thread;
  ASSERT_EQ(::pthread_create(
                &thread, &how,
                [](void* what) -> void* {
                  (*static_cast<const std::function<void()>*>(what))();
                  return nullptr;
                },
                const_cast<void*>(static_cast<const void*>(&run))),
            0);
  ::pthread_join(thread, nullptr);
  ::pthread_attr_destroy(&how);
}

// Issue 11, 18.
TEST_F(Then, AChainMayBeOfAnyLength) {
  constexpr int links = 20'000;
  for (const bool cancels : {false, true}) {
    thread_gate gate;
    thread_pool threads{{.workers = 1}};
    const auto first = threads.apply_async([&] { gate.wait(); });
    gate.wait_for_waiters(1);
    on_a_small_stack([&] {
      auto f = threads.apply_async([] { return 0; });
      for (int i = 0; i < links; ++i) {
        f = f.then([](int x) { return x + 1; });
      }
      EXPECT_FALSE(f.running());
      if (cancels) {
        EXPECT_TRUE(f.cancel());
        EXPECT_TRUE(f.cancelled());
      }
      gate.open();
      if (!cancels) {
        EXPECT_EQ(f.get(), links);
      }
      f = {};
    });
    threads.close();
    threads.join();
  }
}

// Issue 11, 18.
TEST_F(Then, KeepsNothingOfWhatWasBeforeIt) {
  thread_pool threads{{.workers = 1}};
  const auto value = std::make_shared<int>(7);
  auto f = threads.apply_async([kept = value] { return kept; });
  auto after = f.then([](const std::shared_ptr<int>& x) { return *x; });
  f = {};
  EXPECT_EQ(after.get(), 7);
  EXPECT_TRUE(eventually([&] { return value.use_count() == 1; }));
}

/// How many threads of this process run callbacks.
std::size_t callback_threads() {
  std::size_t found = 0;
  for (const auto& each : std::filesystem::directory_iterator{"/proc/self/task"}) {
    std::string name;
    std::getline(std::ifstream{each.path() / "comm"}, name);
    found += name == "troupe.calls" ? 1 : 0;
  }
  return found;
}

// Issue 11, 18.
TEST_F(Then, FuturesThatAreKeptKeepNoThreadOfAPoolThatHasEnded) {
  std::vector<future<int>> kept;
  std::atomic<int> called{0};
  for (int i = 0; i < 5; ++i) {
    thread_pool threads{{.workers = 1}};
    pool processes{{.workers = 1}};
    kept.push_back(threads.apply_async(square, i));
    kept.push_back(processes.apply_async(square, i));
    for (auto f = kept.end() - 2; f != kept.end(); ++f) {
      f->on_result([&](int) { ++called; });
      f->wait();
    }
  }
  EXPECT_EQ(called, 10) << "a pool waits for its callbacks";
  EXPECT_TRUE(eventually([] { return callback_threads() == 0; })) << callback_threads();
  for (const auto& f : kept) {
    f.on_result([&](int) { ++called; });
  }
  EXPECT_EQ(kept.back().then([](int x) { return x + 1; }).get(), 17);
  EXPECT_TRUE(eventually([&] { return called == 20; })) << called;
  EXPECT_TRUE(eventually([] { return callback_threads() == 0; })) << callback_threads();
}

TEST_F(Then, OfADeadPoolEndsToo) {
  auto running = p.apply_async(wait_at, file("running"), file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 1; }));
  auto f = running.then([](int x) { return x; });
  p.terminate();
  EXPECT_FALSE(f.exception() == nullptr);
}

TEST_F(Then, OfNothingIsAnError) {
  EXPECT_TRUE(fails_with(errc::no_state,
                         [] { return future<int>{}.then([](int x) { return x; }).valid(); }));
  EXPECT_TRUE(fails_with(errc::no_state, [] { return when_all(future<int>{}).valid(); }));
  EXPECT_TRUE(
      fails_with(errc::no_state, [] { return when_all(std::vector<future<int>>(2)).valid(); }));
}

TEST_F(Then, WhenAllGivesAllValuesInOrder) {
  std::vector<future<int>> squares;
  for (int i = 0; i < 500; ++i) {
    squares.push_back(p.apply_async(square, i));
  }
  const std::vector<int> values = when_all(squares).get();
  ASSERT_EQ(values.size(), 500U);
  EXPECT_EQ(values[21], 441);
  EXPECT_TRUE(when_all(std::vector<future<int>>{}).get().empty());
  const std::vector<future<void>> nothings{p.apply_async([] {}), p.apply_async([] {})};
  when_all(nothings).get();
}

TEST_F(Then, WhenAllOfDifferentTypesIsATuple) {
  const auto text = p.apply_async([] { return std::string{"x"}; });
  const auto [number, nothing, word] =
      when_all(p.apply_async(square, 3), p.apply_async([] {}), text).get();
  EXPECT_EQ(number, 9);
  EXPECT_EQ(nothing, std::monostate{});
  EXPECT_EQ(word, "x");
}

TEST_F(Then, CancelOfWhenAllCancelsAllOfThem) {
  std::vector<future<int>> busy{p.apply_async(wait_at, file("running"), file("gate")),
                                p.apply_async(wait_at, file("running"), file("gate"))};
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 2; }));
  std::vector<future<int>> queued{p.apply_async(square, 1), p.apply_async(square, 2)};
  auto all = when_all(queued);
  all.cancel();
  EXPECT_THROW(all.get(), cancelled_error);
  EXPECT_TRUE(queued[0].cancelled());
  EXPECT_TRUE(queued[1].cancelled());
  mark(file("gate"));
}

TEST_F(Then, WhenAllFailsWithTheFirstFailureInOrderAfterAllHaveEnded) {
  const std::vector<future<int>> mixed{
      p.apply_async(square, 1), p.apply_async([]() -> int { throw std::out_of_range{"one"}; }),
      p.apply_async([]() -> int { throw std::logic_error{"two"}; }), p.apply_async(square, 2)};
  EXPECT_THROW(when_all(mixed).get(), std::out_of_range);
  for (const auto& f : mixed) {
    EXPECT_TRUE(f.ready());
  }
}

TEST_F(Then, WhatFollowsIsAFutureLikeOthers) {
  std::vector<future<int>> all;
  for (int i = 0; i < 10; ++i) {
    all.push_back(p.apply_async(square, i).then([](int x) { return x + 1; }));
  }
  EXPECT_EQ(troupe::wait(all).done.size(), 10U);
  int sum = 0;
  for (const auto& f : as_completed(all)) {
    sum += f.get();
  }
  EXPECT_EQ(sum, 295);
}

}  // namespace
}  // namespace troupe::test
