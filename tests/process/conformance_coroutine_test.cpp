// SPDX-License-Identifier: BSD-3-Clause
// What pools of processes and thread pools promise alike of tasks that are coroutines. `sleep_for` is here what is
// tested, a suspension that lets others run; nothing depends on how long one takes.
#include "troupe/task.hpp"
#include "troupe/this_task.hpp"

#include "conformance_fixture.hpp"
#include "coroutine_tasks.hpp"

#include <algorithm>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/read.hpp>
#include <asio/this_coro.hpp>
#include <asio/write.hpp>
#include <chrono>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

template <class Kind>
struct Coroutines : conformance_suite<Kind> {};
TYPED_TEST_SUITE(Coroutines, pools, pool_names);

/// A pool whose workers begin `concurrency` coroutines each.
template <class Fixture>
auto many(const Fixture& self, int workers, int concurrency) {
  return self.make_with(
      [&](auto& options) {
        options.concurrency = concurrency;
        options.grace = 200ms;
      },
      {.workers = workers});
}

/// Says that it runs, and waits for `count` marks in `awaited` without keeping its worker: files
/// tell between processes and have nothing to await, so it looks every millisecond.
task<int> wait_for_marks(std::string running, std::string awaited, std::size_t count, int result) {
  mark(running);
  const auto until = std::chrono::steady_clock::now() + eventually_deadline;
  while (marks(awaited) < count) {
    if (std::chrono::steady_clock::now() > until) {
      throw std::runtime_error{"what it waits for never came"};
    }
    co_await sleep_for(1ms);  // between two looks, as `eventually` does it
  }
  co_return result;
}

TROUPE_CONFORMANCE(Coroutines, FifteenRunAtOnceOnTwoWorkers) {
  auto p = many(self, 2, 8);
  std::vector<future<int>> results;
  for (int i = 0; i < 15; ++i) {
    results.push_back(
        p.apply_async(wait_for_marks, self.file("begun"), self.file("begun"), std::size_t{15}, i));
  }
  for (int i = 0; i < 15; ++i) {
    EXPECT_EQ(results[static_cast<std::size_t>(i)].get(), i) << "each ends after all had begun";
  }
  EXPECT_EQ(p.stats().succeeded, 15U);
}

TROUPE_CONFORMANCE(Coroutines, NoMoreThanTheConcurrencyHaveBegun) {
  auto p = many(self, 2, 3);
  const std::string running = self.file("running");
  std::vector<future<int>> results;
  for (int i = 0; i < 10; ++i) {
    results.push_back(p.apply_async(wait_for_marks, running, self.file("gate"), std::size_t{1}, i));
  }
  ASSERT_TRUE(eventually([&] { return marks(running) == 6; }));
  auto behind = p.apply_async(square_now, 3);
  EXPECT_FALSE(behind.get_for(20ms)) << "it has no place yet";
  EXPECT_EQ(marks(running), 6U);
  self.open_gate();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(results[static_cast<std::size_t>(i)].get(), i);
  }
  EXPECT_EQ(behind.get(), 9);
}

TROUPE_CONFORMANCE(Coroutines, ConcurrencyOutOfRangeIsRefused) {
  for (const int wrong : {0, -1, 65'537}) {
    try {
      many(self, 1, wrong);
      ADD_FAILURE() << wrong << " was taken";
    } catch (const std::invalid_argument& e) {
      EXPECT_NE(std::string{e.what()}.find(".concurrency = " + std::to_string(wrong)),
                std::string::npos)
          << e.what();
    }
  }
}

TROUPE_CONFORMANCE(Coroutines, PlainTasksRunBetweenThem) {
  auto p = many(self, 1, 3);
  const std::string running = self.file("running");
  std::vector<future<int>> waiting;
  for (int i = 0; i < 2; ++i) {
    waiting.push_back(p.apply_async(wait_for_marks, running, self.file("gate"), std::size_t{1}, i));
  }
  ASSERT_TRUE(eventually([&] { return marks(running) == 2; }));
  EXPECT_EQ(p.map(square, std::views::iota(0, 1000)).back(), 999 * 999);
  EXPECT_EQ(p.map(square_later, std::views::iota(0, 50)).back(), 49 * 49);
  EXPECT_FALSE(waiting.front().ready());
  self.open_gate();
  EXPECT_EQ(waiting[0].get(), 0);
  EXPECT_EQ(waiting[1].get(), 1);
}

TROUPE_CONFORMANCE(Coroutines, MapsGiveResultsInInputOrder) {
  auto p = many(self, 2, 16);
  for (const std::size_t chunk : {0U, 1U, 16U}) {
    const auto all = p.map(square_later, std::views::iota(0, 300), {.chunk = chunk});
    ASSERT_EQ(all.size(), 300U);
    for (int i = 0; i < 300; ++i) {
      ASSERT_EQ(all[static_cast<std::size_t>(i)], i * i);
    }
  }
  int next = 0;
  for (const int y : p.imap(square_later, std::views::iota(0, 300))) {
    ASSERT_EQ(y, next * next);
    ++next;
  }
  EXPECT_EQ(next, 300);
  int sum = 0;
  for (const int y : p.imap_unordered(square_later, std::views::iota(0, 10))) {
    sum += y;
  }
  EXPECT_EQ(sum, 285);
  const auto add_later = [](int a, int b) -> task<int> {
    co_await sleep_for(1ms);  // a suspension, so that the value comes after a resume
    co_return a + b;
  };
  EXPECT_EQ(p.starmap(add_later, std::vector<std::pair<int, int>>{{1, 2}, {3, 4}}),
            (std::vector{3, 7}));
  EXPECT_EQ(p.map_async(square_later, std::vector{1, 2, 3}, {.chunk = 2}).get(),
            (std::vector{1, 4, 9}));
  EXPECT_THROW(p.map(fail_later, std::vector{1, 2}), std::out_of_range);
}

TROUPE_CONFORMANCE(Coroutines, TenThousandShortOnes) {
  auto p = many(self, 2, 64);
  std::vector<future<int>> results;
  results.reserve(10'000);
  for (int i = 0; i < 10'000; ++i) {
    results.push_back(i % 3 == 0 ? p.apply_async(square_now, i) : p.apply_async(square_later, i));
  }
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_EQ(results[static_cast<std::size_t>(i)].get(), i * i);
  }
  EXPECT_EQ(p.stats().succeeded, 10'000U);
  EXPECT_TRUE(eventually([&] { return p.stats().running == 0; }));
}

TROUPE_CONFORMANCE(Coroutines, ThisTaskIsRightAfterEverySuspension) {
  auto p = many(self, 1, 16);
  const auto watch = [](std::string begun) -> task<std::uint64_t> {
    const std::uint64_t id = this_task::id();
    mark(begun);
    for (int i = 0; i < 50 || marks(begun) < 16; ++i) {
      // Suspends for different times, so that the coroutines resume in mixed order.
      co_await sleep_for(std::chrono::microseconds{id % 5 * 50});
      if (this_task::id() != id || this_task::attempt() != 1 ||
          this_task::stop_token().stop_requested()) {
        co_return 0;
      }
    }
    co_return id;
  };
  std::vector<future<std::uint64_t>> results;
  for (int i = 0; i < 16; ++i) {
    results.push_back(p.apply_async(watch, self.file("begun")));
  }
  std::set<std::uint64_t> ids;
  for (const auto& one : results) {
    ids.insert(one.get());
  }
  EXPECT_EQ(ids.size(), 16U);
  EXPECT_FALSE(ids.contains(0));
  EXPECT_GT(p.apply(+[] { return this_task::id(); }), 0U);
}

TROUPE_CONFORMANCE(Coroutines, CancellingOneLeavesTheOthers) {
  auto p = many(self, 2, 8);
  const std::string running = self.file("running");
  std::vector<future<int>> results;
  for (int i = 0; i < 16; ++i) {
    results.push_back(p.apply_async(wait_for_marks, running, self.file("gate"), std::size_t{1}, i));
  }
  auto behind = p.apply_async(square_now, 2);
  ASSERT_TRUE(eventually([&] { return marks(running) == 16; }));
  EXPECT_TRUE(behind.cancel()) << "it had not begun";
  EXPECT_FALSE(results[5].cancel()) << "it runs, so it is asked";
  EXPECT_TRUE(fails_with(errc::cancelled, [&] { return results[5].get(); }));
  EXPECT_TRUE(results[5].cancelled());
  EXPECT_FALSE(results[11].cancel());
  EXPECT_THROW(results[11].get(), cancelled_error);
  self.open_gate();
  for (int i = 0; i < 16; ++i) {
    if (i != 5 && i != 11) {
      EXPECT_EQ(results[static_cast<std::size_t>(i)].get(), i);
    }
  }
  EXPECT_EQ(p.stats().cancelled, 3U);
  EXPECT_EQ(p.stats().deaths, 0U);
}

TROUPE_CONFORMANCE(Coroutines, AStopRequestMayBeCaught) {
  auto p = many(self, 1, 4);
  const auto catches = [](std::string running) -> task<int> {
    mark(running);
    try {
      co_await sleep_for(1h);  // never passes: the stop ends it
    } catch (const std::system_error& e) {
      const bool stop = this_task::stop_token().stop_requested();
      co_return e.code() == asio::error::operation_aborted&& stop ? 7 : 8;
    }
    co_return 9;
  };
  auto f = p.apply_async(catches, self.file("running"));
  ASSERT_TRUE(eventually([&] { return marks(self.file("running")) == 1; }));
  f.cancel();
  EXPECT_EQ(f.get(), 7);
  EXPECT_EQ(p.stats().deaths, 0U);
}

TROUPE_CONFORMANCE(Coroutines, SocketsAndSpawnedCoroutinesWork) {
  auto p = many(self, 1, 4);
  const auto talk = [](std::string text) -> task<std::string> {
    auto executor = co_await asio::this_coro::executor;
    asio::local::stream_protocol::socket here{executor};
    asio::local::stream_protocol::socket there{executor};
    asio::local::connect_pair(here, there);
    const std::uint64_t id = this_task::id();
    bool same = false;
    asio::co_spawn(
        executor,
        [&]() -> task<void> {
          std::string received(text.size(), ' ');
          co_await asio::async_read(there, asio::buffer(received), asio::use_awaitable);
          std::ranges::reverse(received);
          same = this_task::id() == id;
          co_await asio::async_write(there, asio::buffer(received), asio::use_awaitable);
        },
        [](std::exception_ptr) {});
    co_await asio::async_write(here, asio::buffer(text), asio::use_awaitable);
    std::string answer(text.size(), ' ');
    co_await asio::async_read(here, asio::buffer(answer), asio::use_awaitable);
    co_return same&& this_task::id() == id ? answer : "another task";
  };
  std::vector<future<std::string>> answers;
  for (int i = 0; i < 20; ++i) {
    answers.push_back(p.apply_async(talk, "abc" + std::to_string(i % 10)));
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(answers[static_cast<std::size_t>(i)].get(), std::to_string(i % 10) + "cba");
  }
}

}  // namespace
}  // namespace troupe::test
