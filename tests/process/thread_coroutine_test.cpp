// SPDX-License-Identifier: BSD-3-Clause
// Coroutines as tasks of a thread pool. `sleep_for` is here what is tested, a suspension that lets
// others run; nothing depends on how long one takes.
#include "troupe/executor.hpp"
#include "troupe/task.hpp"
#include "troupe/this_task.hpp"
#include "troupe/thread_pool.hpp"

#include "coroutine_tasks.hpp"
#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <algorithm>
#include <asio/detached.hpp>
#include <asio/this_coro.hpp>
#include <atomic>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

struct ThreadCoroutine : pool_test {};

/// Ends once `count` of them have begun.
task<int> meet(std::atomic<int>* begun, int count, int result) {
  ++*begun;
  while (begun->load() < count) {
    co_await sleep_for(1ms);
  }
  co_return result;
}

task<int> wait_for_ever(std::atomic<int>* begun) {
  ++*begun;
  co_await sleep_for(1h);
  co_return 0;
}

TEST_F(ThreadCoroutine, AnExecutorMapsThemToo) {
  const auto add_later = [](int a, int b) -> task<int> {
    co_await sleep_for(100us);
    co_return a + b;
  };
  thread_pool_executor ex{{.workers = 2, .concurrency = 8}};
  std::vector<int> sums;
  for (const int y : ex.map(add_later, std::views::iota(0, 20), std::views::iota(10, 30))) {
    sums.push_back(y);
  }
  EXPECT_EQ(sums.at(19), 48);
}

TEST_F(ThreadCoroutine, ResultsThatOnlyMoveAndNone) {
  thread_pool p{{.workers = 2, .concurrency = 4}};
  const auto makes = [](int x) -> task<std::unique_ptr<int>> {
    co_await sleep_for(100us);
    co_return std::make_unique<int>(x);
  };
  EXPECT_EQ(*p.apply(makes, 7), 7);
  std::atomic<int> seen{0};
  const auto adds = [&](int x) -> task<void> {
    co_await sleep_for(100us);
    seen += x;
  };
  p.apply(adds, 5);
  p.map(adds, std::views::iota(0, 10));
  EXPECT_EQ(seen, 50);
  const auto text = []() -> task<std::string_view> { co_return "lives on"; };
  EXPECT_EQ(p.apply(text), std::string{"lives on"});
}

TEST_F(ThreadCoroutine, ArgumentsLiveUntilTheEndAndNoLonger) {
  thread_pool p{{.workers = 1, .concurrency = 2}};
  const auto given = std::make_shared<std::string>("a text that is too long to be short");
  const auto reads = [given](const std::shared_ptr<std::string>& text,
                             const std::string& other) -> task<std::string> {
    co_await sleep_for(1ms);
    co_return *text + other + *given;
  };
  auto f = p.apply_async(reads, given, std::string{" and another such text "});
  EXPECT_EQ(f.get(), *given + " and another such text " + *given);
  EXPECT_EQ(given.use_count(), 2) << "the test's and the function's here";
}

TEST_F(ThreadCoroutine, ItsExceptionIsTheOneThatWasThrown) {
  thread_pool p{{.workers = 1, .concurrency = 2}};
  struct own_exception {
    int number;
  };
  auto f = p.apply_async([]() -> task<void> {
    co_await sleep_for(100us);
    throw own_exception{7};
  });
  try {
    f.get();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const own_exception& e) {
    EXPECT_EQ(e.number, 7);
  }
  EXPECT_EQ(p.stats().failed, 1U);
}

TEST_F(ThreadCoroutine, AwaitsFuturesOfItsOwnPool) {
  thread_pool p{{.workers = 1, .concurrency = 4}};
  const auto outer = [&](int x) -> task<int> {
    future<int> one = p.apply_async(square, x);
    future<int> two = p.apply_async(square_later, x);
    const int a = co_await as_awaitable(one);
    const int b = co_await as_awaitable(two);
    co_return a + b;
  };
  EXPECT_EQ(p.apply(outer, 5), 50);
  // Without room for a second one, one that blocks runs other tasks.
  thread_pool narrow{{.workers = 1}};
  EXPECT_EQ(narrow.apply(
                [&](int x) -> task<int> {
                  co_await sleep_for(1ms);
                  co_return narrow.apply(square_later, x) + narrow.apply(square, x);
                },
                5),
            50);
  // And so does a plain task that waits for a coroutine.
  EXPECT_EQ(narrow.apply([&](int x) { return narrow.apply(square_later, x); }, 5), 25);
  EXPECT_EQ(narrow.apply([&] { return narrow.map(square_later, std::views::iota(0, 20)).at(4); }),
            16);
}

TEST_F(ThreadCoroutine, TimeoutsAndDeadlinesEndThem) {
  thread_pool p{{.workers = 1, .concurrency = 4}};
  std::atomic<int> begun{0};
  auto stays = p.apply_async(meet, &begun, 4, 9);
  auto timed = p.with({.timeout = 5ms}).apply_async(wait_for_ever, &begun);
  auto late = p.with({.deadline = 5ms}).apply_async(wait_for_ever, &begun);
  EXPECT_TRUE(fails_with(errc::timeout, [&] { return timed.get(); }));
  EXPECT_TRUE(fails_with(errc::timeout, [&] { return late.get(); }));
  begun = 4;
  EXPECT_EQ(stays.get(), 9);
}

TEST_F(ThreadCoroutine, RetriesBeginAgainWithTheArguments) {
  thread_pool p{{.workers = 2, .concurrency = 4}};
  const auto retrying =
      p.with({.retries = 3, .retry_if = [](const error&) { return true; }, .backoff = 1ms});
  std::vector<std::atomic<int>> tries(20);
  const auto fails_twice = [&](std::size_t i, std::string text) -> task<std::string> {
    co_await sleep_for(100us);
    if (++tries[i] < 3) {
      text.clear();
      throw std::out_of_range{"not yet"};
    }
    co_return text + std::to_string(this_task::attempt());
  };
  EXPECT_EQ(thread_pool_with{retrying}.apply(fails_twice, std::size_t{0}, "attempt "), "attempt 3");
  const auto each = [&](std::size_t i) -> task<std::size_t> {
    co_await sleep_for(100us);
    if (++tries[i] < 2) {
      throw std::out_of_range{"not yet"};
    }
    co_return i;
  };
  for (auto& one : tries) {
    one = 0;
  }
  const auto results =
      thread_pool_with{retrying}.map(each, std::views::iota(std::size_t{0}, tries.size()));
  EXPECT_EQ(results.at(19), 19U);
  EXPECT_EQ(p.stats().failed, 0U);
}

TEST_F(ThreadCoroutine, WhatATaskLeavesRunningGoesOnWhileNothingElseHappens) {
  thread_pool p{{.workers = 1, .concurrency = 2}};
  std::latch done{1};
  p.apply([&]() -> task<void> {
    asio::co_spawn(
        co_await asio::this_coro::executor,
        [&]() -> task<void> {
          co_await sleep_for(2ms);
          done.count_down();
        },
        asio::detached);
  });
  done.wait();
}

TEST_F(ThreadCoroutine, CloseLetsThemEndAndTerminateCancelsThem) {
  {
    thread_pool p{{.workers = 2, .concurrency = 5}};
    std::vector<future<int>> all;
    for (int i = 0; i < 50; ++i) {
      all.push_back(p.apply_async(square_later, i));
    }
    p.close();
    p.join();
    for (int i = 0; i < 50; ++i) {
      EXPECT_TRUE(all[static_cast<std::size_t>(i)].ready());
      EXPECT_EQ(all[static_cast<std::size_t>(i)].get(), i * i);
    }
  }
  thread_pool p{{.workers = 2, .concurrency = 5}};
  std::atomic<int> begun{0};
  std::vector<future<int>> all;
  for (int i = 0; i < 20; ++i) {
    all.push_back(p.apply_async(wait_for_ever, &begun));
  }
  ASSERT_TRUE(eventually([&] { return begun == 10; }));
  p.terminate();
  p.join();
  for (auto& f : all) {
    EXPECT_TRUE(f.cancelled());
  }
  EXPECT_EQ(begun, 10);
}

TEST_F(ThreadCoroutine, ResizeLetsThemFinish) {
  thread_pool p{{.workers = 3, .concurrency = 4}};
  std::atomic<int> begun{0};
  std::vector<future<int>> all;
  for (int i = 0; i < 12; ++i) {
    all.push_back(p.apply_async(meet, &begun, 13, i));
  }
  ASSERT_TRUE(eventually([&] { return begun == 12; }));
  p.resize(1);
  auto behind = p.apply_async(square_now, 3);
  ++begun;
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(all[static_cast<std::size_t>(i)].get(), i);
  }
  EXPECT_EQ(behind.get(), 9);
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 1; }));
}

// ---- attempts -----------------------------------------------------------------------------------

bool always(const error&) {
  return true;
}

task<int> stopped_once(std::string text, std::vector<std::string>* seen) {
  seen->push_back(text);
  if (this_task::attempt() == 1) {
    co_await sleep_for(1h);
  }
  co_return static_cast<int>(text.size());
}

// Issue 9, 1.
TEST_F(ThreadCoroutine, OneThatItsTimeoutEndsLeavesTheArgumentsToItsNextAttempt) {
  thread_pool p{{.workers = 2, .concurrency = 4}};
  const std::string text = "a text that is too long to be kept in place";
  std::vector<std::string> seen;
  // A limit that the second attempt keeps, however busy the machine is.
  auto f = p.with({.timeout = 1s, .retries = 1, .retry_if = always})
               .apply_async(stopped_once, text, &seen);
  EXPECT_EQ(f.get(), static_cast<int>(text.size()));
  EXPECT_EQ(seen, (std::vector{text, text}));

  std::atomic<int> begun{0};
  auto late =
      p.with({.timeout = 2ms, .retries = 1, .retry_if = always}).apply_async(wait_for_ever, &begun);
  EXPECT_TRUE(fails_with(errc::timeout, [&] { return late.get(); }));
  EXPECT_EQ(begun, 2);
}

// Issue 9, 1.
TEST_F(ThreadCoroutine, HasAnOutcomeWhateverBecameOfTheAttemptsOfOthers) {
  thread_pool p{{.workers = 1, .concurrency = 4}};
  auto bad = p.with({.timeout = 2ms, .retries = 1, .retry_if = always}).apply_async([] {
    const std::stop_token stop = this_task::stop_token();
    while (!stop.stop_requested()) {
      std::this_thread::yield();
    }
    throw std::runtime_error{"asked to stop"};
  });
  bad.wait();
  auto good = p.with({.retries = 1, .retry_if = always}).apply_async(square_later, 5);
  ASSERT_TRUE(good.wait_for(eventually_deadline));
  EXPECT_EQ(good.get(), 25);
}

/// One that goes on step by step until it may end.
struct stepping {
  std::atomic<int> steps{0};
  std::atomic<bool> may_end{false};

  bool step_on(int more) {
    return eventually([this, until = steps + more] { return steps >= until; });
  }
};

task<int> step_then_throw_once(stepping* here) {
  while (!here->may_end) {
    co_await sleep_for(1ms);
    ++here->steps;
  }
  if (this_task::attempt() == 1) {
    throw std::out_of_range{"not yet"};
  }
  co_return 7;
}

TEST_F(ThreadCoroutine, IsTriedAgainInAClosedPoolThatItsWorkerLeaves) {
  for (const std::string key : {"", "key"}) {
    thread_pool p{{.workers = 1}};
    stepping here;
    auto f = p.with({.retries = 1, .retry_if = always, .affinity = key})
                 .apply_async(step_then_throw_once, &here);
    ASSERT_TRUE(here.step_on(1));
    p.resize(2);
    thread_gate gate;
    auto keeps_the_second_busy = p.apply_async([&] { gate.wait(); });
    gate.wait_for_waiters(1);
    p.resize(1);  // the first leaves, once its coroutine has ended
    ASSERT_TRUE(here.step_on(5));
    gate.open();
    keeps_the_second_busy.wait();
    p.close();
    ASSERT_TRUE(here.step_on(50));  // now the second has nothing to do, and could leave, too
    here.may_end = true;
    ASSERT_TRUE(f.wait_for(eventually_deadline)) << "key '" << key << "'";
    EXPECT_EQ(f.get(), 7);
    p.join();
  }
}

}  // namespace
}  // namespace troupe::test
