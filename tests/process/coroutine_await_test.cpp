// SPDX-License-Identifier: BSD-3-Clause
// Awaiting futures and submissions, in tasks, in Asio programs and in coroutines of neither.
#include "troupe/await.hpp"
#include "troupe/task.hpp"

#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <coroutine>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

struct CoroutineAwait : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(CoroutineAwait);

struct CoroutineAwaitHere : pool_test {};

/// The least there is of a coroutine: begins at once, and has no owner.
struct fire_and_forget {
  struct promise_type {
    fire_and_forget get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

int fail(int x) {
  throw std::out_of_range{"no " + std::to_string(x)};
}

/// Lets the loop run until `happened`: a look every millisecond keeps its thread free meanwhile,
/// and the test's watchdog bounds it.
template <class Condition>
task<void> until(Condition happened) {
  while (!happened()) {
    co_await sleep_for(1ms);  // between two looks, as `eventually` does it; its test has a watchdog
  }
}

task<int> wait_for_ever(std::string running) {
  mark(running);
  co_await sleep_for(1h);  // never: its test cancels it
  co_return 0;
}

// ---- in tasks ----------------------------------------------------------------------------------

task<int> squares_elsewhere(int x) {
  pool inner{{.workers = 1}};
  const int plain = co_await as_awaitable(inner.apply_async(square, x));
  std::string caught;
  try {
    co_await as_awaitable(inner.apply_async(fail, x));
  } catch (const std::out_of_range& e) {
    caught = e.what();
  }
  co_return caught == "no " + std::to_string(x) ? plain : -1;
}

TEST_P(CoroutineAwait, ATaskAwaitsFuturesOfAnotherPool) {
  pool_options outer = options(2);
  outer.concurrency = 4;
  pool p{outer};
  std::vector<future<int>> results;
  for (int i = 1; i <= 4; ++i) {
    results.push_back(p.apply_async(squares_elsewhere, i));
  }
  for (int i = 1; i <= 4; ++i) {
    EXPECT_EQ(results[static_cast<std::size_t>(i - 1)].get(), i * i);
  }
}

task<int> awaits_for_ever(std::string running) {
  pool inner{{.workers = 1}};
  co_return co_await as_awaitable(inner.apply_async(wait_for_ever, running));
}

TEST_P(CoroutineAwait, CancellingATaskEndsWhatItAwaits) {
  pool_options outer = options(1);
  outer.concurrency = 4;
  pool p{outer};
  auto f = p.apply_async(awaits_for_ever, file("running"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 1; }));
  f.cancel();
  EXPECT_THROW(f.get(), cancelled_error);
  EXPECT_EQ(p.apply(square, 3), 9);
}

// ---- in an Asio program ------------------------------------------------------------------------

TEST_F(CoroutineAwaitHere, AnAsioProgramAwaitsOnItsOwnThread) {
  pool p{{.workers = 2}};
  asio::io_context loop;
  const auto here = std::this_thread::get_id();
  bool same_thread = true;
  int sum = 0;
  std::exception_ptr thrown;
  asio::co_spawn(
      loop,
      [&]() -> task<void> {
        for (int i = 0; i < 200; ++i) {
          sum += co_await as_awaitable(p.apply_async(square, i % 10));
          same_thread = same_thread && std::this_thread::get_id() == here;
        }
        auto ready = p.apply_async(square, 5);
        ready.wait();
        sum += co_await as_awaitable(ready);
        co_await as_awaitable(p.apply_async(fail, 7));
      },
      [&](std::exception_ptr e) { thrown = std::move(e); });
  loop.run();
  EXPECT_EQ(sum, 20 * 285 + 25);
  EXPECT_TRUE(same_thread);
  ASSERT_TRUE(thrown);
  EXPECT_THROW(std::rethrow_exception(thrown), std::out_of_range);
  EXPECT_TRUE(fails_with(errc::no_state, [] { return as_awaitable(future<int>{}); }));
}

TEST_F(CoroutineAwaitHere, CancellationTravelsBothWays) {
  pool p{{.workers = 1, .concurrency = 2}};
  asio::io_context loop;
  asio::cancellation_signal stop;
  future<int> outer = p.apply_async(wait_for_ever, file("running"));
  future<int> other = p.apply_async(wait_for_ever, file("running"));
  std::exception_ptr of_outer;
  std::exception_ptr of_other;
  asio::co_spawn(
      loop, [&]() -> task<int> { co_return co_await as_awaitable(outer); },
      asio::bind_cancellation_slot(stop.slot(),
                                   [&](std::exception_ptr e, int) { of_outer = std::move(e); }));
  asio::co_spawn(
      loop, [&]() -> task<int> { co_return co_await as_awaitable(other); },
      [&](std::exception_ptr e, int) { of_other = std::move(e); });
  asio::co_spawn(
      loop,
      [&]() -> task<void> {
        co_await until([&] { return marks(file("running")) >= 2; });
        stop.emit(asio::cancellation_type::terminal);  // the coroutine's, so its future's
        other.cancel();                                // the future's, so its coroutine's
      },
      [](std::exception_ptr) {});
  loop.run();
  ASSERT_TRUE(of_outer);
  try {
    std::rethrow_exception(of_outer);
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), asio::error::operation_aborted);
  }
  ASSERT_TRUE(of_other);
  EXPECT_THROW(std::rethrow_exception(of_other), cancelled_error);
  EXPECT_THROW(outer.get(), cancelled_error) << "the task itself was stopped";
}

TEST_F(CoroutineAwaitHere, ManyAwaitOneFuture) {
  pool p{{.workers = 1}};
  asio::io_context loop;
  auto f = p.apply_async(wait_at, file("running"), file("gate"));
  int resumed = 0;
  for (int i = 0; i < 100; ++i) {
    asio::co_spawn(
        loop, [&]() -> task<void> { resumed += co_await as_awaitable(f); },
        [](std::exception_ptr) {});
  }
  std::thread opens{[&] { mark(file("gate")); }};
  loop.run();
  opens.join();
  EXPECT_EQ(resumed, 100);
}

// ---- back-pressure -----------------------------------------------------------------------------

template <class Pool>
struct AwaitRoom : CoroutineAwaitHere {};
using pools_with_room = testing::Types<pool, thread_pool>;
TYPED_TEST_SUITE(AwaitRoom, pools_with_room);

TYPED_TEST(AwaitRoom, AFullQueueHoldsTheCoroutineAndNotTheThread) {
  TypeParam p{{.workers = 1, .max_queued = 4}};
  asio::io_context loop;
  constexpr int count = 500;
  int submitted = 0;
  int turns = 0;
  long sum = 0;
  auto gate = p.apply_async(wait_at, this->file("running"), this->file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("running")) > 0; }));
  for (int i = 0; i < count; ++i) {
    asio::co_spawn(
        loop,
        [&, i]() -> task<void> {
          future<int> f = co_await as_awaitable(p.co_apply_async(square, i));
          ++submitted;
          sum += co_await as_awaitable(f);
        },
        [](std::exception_ptr e) { EXPECT_FALSE(e); });
  }
  asio::co_spawn(
      loop,
      [&]() -> task<void> {
        // Timers are what shows that the thread is free; the order is the loop's, not the clock's.
        for (; turns < 20; ++turns) {
          co_await sleep_for(1ms);
        }
        EXPECT_LE(submitted, 5);
        EXPECT_LE(p.stats().queued, 5U);
        mark(this->file("gate"));
      },
      [](std::exception_ptr) {});
  loop.run();
  EXPECT_EQ(turns, 20) << "the thread was free";
  EXPECT_EQ(submitted, count);
  EXPECT_EQ(sum, 41'541'750);
}

TYPED_TEST(AwaitRoom, OneThatIsCancelledInLineSubmitsNothingAndLeavesItsPlace) {
  TypeParam p{{.workers = 1, .max_queued = 1}};
  asio::io_context loop;
  auto gate = p.apply_async(wait_at, this->file("running"), this->file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("running")) > 0; }));
  std::vector<std::unique_ptr<asio::cancellation_signal>> stops;
  int in_line = 0;  // one thread: a coroutine that counted itself is in line when others run
  int aborted = 0;
  int done = 0;
  for (int i = 0; i < 20; ++i) {
    stops.push_back(std::make_unique<asio::cancellation_signal>());
    asio::co_spawn(
        loop,
        [&]() -> task<void> {
          ++in_line;
          future<void> f = co_await as_awaitable(p.co_apply_async(mark, this->file("ran")));
          co_await as_awaitable(f);
        },
        asio::bind_cancellation_slot(stops.back()->slot(),
                                     [&](std::exception_ptr e) { ++(e ? aborted : done); }));
  }
  asio::co_spawn(
      loop,
      [&]() -> task<void> {
        co_await until([&] { return in_line >= 20; });
        for (std::size_t i = 3; i < 20; i += 2) {
          stops[i]->emit(asio::cancellation_type::terminal);
        }
        mark(this->file("gate"));
        co_return;
      },
      [](std::exception_ptr) {});
  loop.run();
  EXPECT_EQ(aborted, 9);
  EXPECT_EQ(done, 11);
  p.close();
  p.join();
  EXPECT_EQ(marks(this->file("ran")), 11U);
}

TYPED_TEST(AwaitRoom, ThoseInLineHearThatThePoolIsClosed) {
  TypeParam p{{.workers = 1, .max_queued = 1}};
  asio::io_context loop;
  auto gate = p.apply_async(wait_at, this->file("running"), this->file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("running")) > 0; }));
  auto queued = p.apply_async(square, 2);
  int in_line = 0;
  int refused = 0;
  for (int i = 0; i < 10; ++i) {
    asio::co_spawn(
        loop,
        [&]() -> task<void> {
          ++in_line;
          try {
            co_await as_awaitable(p.co_apply_async(square, 1));
          } catch (const pool_closed&) {
            ++refused;
          }
        },
        [](std::exception_ptr e) { EXPECT_FALSE(e); });
  }
  asio::co_spawn(
      loop,
      [&]() -> task<void> {
        co_await until([&] { return in_line >= 10; });
        p.close();
      },
      [](std::exception_ptr) {});
  loop.run();
  EXPECT_EQ(refused, 10);
  mark(this->file("gate"));
  EXPECT_EQ(queued.get(), 4);
}

// ---- in coroutines of neither ------------------------------------------------------------------

TEST_F(CoroutineAwaitHere, PlainCoroutinesAwaitFutures) {
  pool p{{.workers = 2}};
  std::atomic<int> sum{0};
  std::atomic<bool> done{false};
  std::string caught;
  const auto run = [&]() -> fire_and_forget {
    for (int i = 0; i < 100; ++i) {
      const int value = co_await p.apply_async(square, i % 10);
      sum += value;
    }
    try {
      co_await p.apply_async(fail, 3);
    } catch (const std::out_of_range& e) {
      caught = e.what();
    }
    co_await p.apply_async(mark, file("marked"));
    auto ready = p.apply_async(square, 2);
    ready.wait();
    const int value = co_await ready;
    sum += value;
    done = true;
  };
  run();
  ASSERT_TRUE(eventually([&] { return done.load(); }));
  EXPECT_EQ(sum, 10 * 285 + 4);
  EXPECT_EQ(caught, "no 3");
  EXPECT_EQ(marks(file("marked")), 1U);
}

TYPED_TEST(AwaitRoom, PlainCoroutinesAwaitRoom) {
  TypeParam p{{.workers = 1, .max_queued = 2}};
  auto gate = p.apply_async(wait_at, this->file("running"), this->file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("running")) > 0; }));
  std::atomic<int> done{0};
  std::atomic<int> sum{0};
  std::atomic<int> refused{0};
  const auto run = [&](int i) -> fire_and_forget {
    try {
      auto f = co_await p.co_apply_async(square, i);
      const int value = co_await f;
      sum += value;
    } catch (const pool_closed&) {
      ++refused;
    }
    ++done;
  };
  for (int i = 0; i < 10; ++i) {
    run(i);
  }
  EXPECT_EQ(done, 0);
  mark(this->file("gate"));
  ASSERT_TRUE(eventually([&] { return done == 10; }));
  EXPECT_EQ(sum, 285);
  EXPECT_EQ(refused, 0);
  p.close();
  p.join();
  run(1);
  EXPECT_EQ(refused, 1);
}

}  // namespace
}  // namespace troupe::test
