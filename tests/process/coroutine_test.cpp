// SPDX-License-Identifier: BSD-3-Clause
// Tasks that are coroutines: many at once in one worker, and what ends them. `sleep_for` is here
// what is tested, a suspension that lets others run; nothing depends on how long one takes.
#include "troupe/task.hpp"
#include "troupe/this_process.hpp"

#include "coroutine_tasks.hpp"
#include "os/failpoint.hpp"
#include "pool_fixture.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <asio/post.hpp>
#include <asio/this_coro.hpp>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace troupe::test {
namespace {

struct Coroutine : every_start_method {
  [[nodiscard]] pool_options many(int workers, int concurrency) const {
    pool_options made = options(workers);
    made.concurrency = concurrency;
    made.grace = 200ms;
    return made;
  }
};
TROUPE_FOR_EVERY_START_METHOD(Coroutine);

struct CoroutineOptions : pool_test {};

// ---- tasks -------------------------------------------------------------------------------------

/// Says that it runs, and waits for the gate without keeping its worker: files tell between
/// processes and have nothing to await, so it looks every millisecond.
task<int> wait_without_a_thread(std::string running, std::string gate, int result) {
  mark(running);
  const auto until = std::chrono::steady_clock::now() + eventually_deadline;
  while (marks(gate) == 0) {
    if (std::chrono::steady_clock::now() > until) {
      throw std::runtime_error{"the test did not open the gate"};
    }
    co_await sleep_for(1ms);  // between two looks, as `eventually` does it
  }
  co_return result;
}

task<int> wait_for_ever(std::string running) {
  mark(running);
  co_await sleep_for(1h);  // never: its test cancels it
  co_return 0;
}

/// Neither a stop request nor SIGTERM ends it, and the others of its worker go on.
task<int> stubborn(std::string running) {
  ::signal(SIGTERM, SIG_IGN);
  mark(running);
  for (;;) {
    asio::io_context other;
    try {
      (void)co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
      co_await sleep_for(1ms);
    } catch (...) {
    }
  }
}

template <class T>
void all_ready(const std::vector<future<T>>& futures) {
  for (const auto& f : futures) {
    f.wait();
  }
}

// ---- many at once ------------------------------------------------------------------------------

TEST_P(Coroutine, OneAfterTheOtherUnlessAsked) {
  pool p{options(1)};
  const auto alone = [](std::string begun, std::string ended) -> task<bool> {
    mark(begun);
    co_await sleep_for(1ms);
    const bool single = marks(begun) == marks(ended) + 1;
    mark(ended);
    co_return single;
  };
  std::vector<future<bool>> results;
  for (int i = 0; i < 20; ++i) {
    results.push_back(p.apply_async(alone, file("begun"), file("ended")));
  }
  for (const auto& one : results) {
    EXPECT_TRUE(one.get());
  }
  EXPECT_EQ(p.map(square_later, std::views::iota(0, 200)).back(), 199 * 199)
      << "several in one message";
}

// ---- what crosses ------------------------------------------------------------------------------

TEST_P(Coroutine, ArgumentsLiveUntilTheEnd) {
  pool p{many(1, 8)};
  const auto look = [](const std::string& text, std::string_view view, std::span<const int> numbers,
                       const char* c_text) -> task<std::size_t> {
    for (int i = 0; i < 5; ++i) {
      co_await sleep_for(1ms);
    }
    const bool right = std::ranges::all_of(text, [&](char c) { return c == text[0]; }) &&
                       view == text && std::string_view{c_text} == text;
    co_return right
        ? text.size() + static_cast<std::size_t>(std::accumulate(numbers.begin(), numbers.end(), 0))
        : 0;
  };
  std::vector<future<std::size_t>> results;
  for (int i = 0; i < 50; ++i) {
    const std::string text((i % 2 == 0 ? 10 : 40'000) + static_cast<std::size_t>(i),
                           static_cast<char>('a' + i % 26));
    const std::vector<int> numbers(static_cast<std::size_t>(i), 1);
    results.push_back(p.apply_async(look, text, text, std::span{numbers}, text.c_str()));
  }
  for (std::size_t i = 0; i < 50; ++i) {
    EXPECT_EQ(results[i].get(), (i % 2 == 0 ? 10 : 40'000) + 2 * i);
  }
}

struct multiplier {
  int factor = 1;
  task<int> operator()(int x) const {
    co_await sleep_for(2ms);
    co_return factor* x;
  }
  task<int> times(int x) const {
    co_await sleep_for(2ms);
    co_return factor* x;
  }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(factor);
  }
};

struct counting {
  int calls = 0;
  task<int> operator()() {
    ++calls;
    co_await sleep_for(1ms);
    co_return calls;
  }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(calls);
  }
};

TEST_P(Coroutine, AnyCallableMayBeOne) {
  pool p{many(1, 8)};
  auto object = p.apply_async(multiplier{3}, 4);
  auto member = p.apply_async(&multiplier::times, multiplier{5}, 6);
  auto bound = p.apply_async(partial(multiplier{7}, 8));
  EXPECT_EQ(object.get(), 12);
  EXPECT_EQ(member.get(), 30);
  EXPECT_EQ(bound.get(), 56);
  EXPECT_EQ(p.map(multiplier{2}, std::vector{1, 2, 3}), (std::vector{2, 4, 6}));
  EXPECT_EQ(p.apply_async(counting{}).get() + p.apply_async(counting{}).get(), 2);
}

struct plain_pair {
  int a = 0;
  std::string b;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(a, b);
  }
};

TEST_P(Coroutine, ResultsOfEveryKindCross) {
  pool p{many(2, 8)};
  const auto nothing = [](std::string path) -> task<void> {
    co_await sleep_for(1ms);
    mark(path);
  };
  p.apply(nothing, file("nothing"));
  EXPECT_EQ(marks(file("nothing")), 1U);
  const auto moved = [](int x) -> task<std::unique_ptr<int>> {
    co_await sleep_for(1ms);
    co_return std::make_unique<int>(x);
  };
  EXPECT_EQ(*p.apply(moved, 5), 5);
  const auto pair = [](int x) -> task<plain_pair> { co_return plain_pair{x, std::to_string(x)}; };
  EXPECT_EQ(p.apply(pair, 6).b, "6");
  const auto text = [](std::size_t size, char c) -> task<std::string> {
    co_await sleep_for(1ms);
    co_return std::string(size, c);
  };
  std::vector<future<std::string>> large;
  for (int i = 0; i < 12; ++i) {
    large.push_back(p.apply_async(text, std::size_t{4} << 20, static_cast<char>('a' + i)));
  }
  std::vector<future<std::string>> medium;  // more than a ring holds, inline
  for (int i = 0; i < 200; ++i) {
    medium.push_back(p.apply_async(text, std::size_t{15'000}, static_cast<char>('a' + i % 26)));
  }
  for (int i = 0; i < 12; ++i) {
    const std::string value = large[static_cast<std::size_t>(i)].get();
    EXPECT_EQ(value.size(), std::size_t{4} << 20);
    EXPECT_EQ(value.find_first_not_of(static_cast<char>('a' + i)), std::string::npos);
  }
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(medium[static_cast<std::size_t>(i)].get(),
              std::string(15'000, static_cast<char>('a' + i % 26)));
  }
}

TEST_P(Coroutine, AResultThatIsTooLargeFailsAlone) {
  pool_options small = many(1, 4);
  small.max_payload_bytes = 1000;
  pool p{small};
  const auto text = [](int size) -> task<std::string> {
    co_await sleep_for(1ms);
    co_return std::string(static_cast<std::size_t>(size), 'x');
  };
  auto fits = p.apply_async(text, 100);
  auto does_not = p.apply_async(text, 10'000);
  EXPECT_TRUE(fails_with(errc::payload_too_large, [&] { return does_not.get(); }));
  EXPECT_EQ(fits.get().size(), 100U);
}

TEST_P(Coroutine, ExceptionsArriveWhereverTheyAreThrown) {
  pool p{many(1, 4)};
  auto throws = p.apply_async(fail_later, 7);
  auto fine = p.apply_async(square_later, 7);
  try {
    throws.get();
    ADD_FAILURE() << "it did not throw";
  } catch (const std::out_of_range& e) {
    EXPECT_STREQ(e.what(), "no 7");
    const auto* info = dynamic_cast<const remote_error_info*>(&e);
    ASSERT_NE(info, nullptr);
  }
  EXPECT_EQ(fine.get(), 49);
  const auto at_once = [](int x) -> task<int> {
    if (x > 0) {
      throw std::invalid_argument{"at once"};
    }
    co_return x;
  };
  EXPECT_THROW(p.apply(at_once, 1), std::invalid_argument);
  const auto no_coroutine = [](int x) -> task<int> {  // throws before there is one
    if (x > 0) {
      throw std::domain_error{"before"};
    }
    return square_now(x);
  };
  EXPECT_THROW(p.apply(no_coroutine, 1), std::domain_error);
  EXPECT_EQ(p.apply(no_coroutine, 0), 0);
}

TEST_P(Coroutine, WhatATaskLeavesRunningGoesOn) {
  pool p{many(1, 2)};
  const auto leave = [](std::string path) -> task<int> {
    auto executor = co_await asio::this_coro::executor;
    asio::co_spawn(
        executor,
        [path]() -> task<void> {
          co_await sleep_for(20ms);
          mark(path);
        },
        [](std::exception_ptr) {});
    co_return 1;
  };
  EXPECT_EQ(p.apply(leave, file("later")), 1);
  EXPECT_TRUE(eventually([&] { return marks(file("later")) == 1; }));
  EXPECT_EQ(p.apply(square, 3), 9);
}

TEST_P(Coroutine, AnInitializerMayBeOne) {
  pool_options with = many(2, 2);
  with.initializer = call(
      [](std::string path) -> task<void> {
        co_await sleep_for(1ms);
        mark(path);
      },
      file("initialized"));
  pool p{with};
  EXPECT_EQ(marks(file("initialized")), 2U);
}

// ---- this_task ---------------------------------------------------------------------------------

// ---- cancellation and limits of time -----------------------------------------------------------

TEST_P(Coroutine, AWaiterThatGivesUpLeavesNoTaskBehind) {
  pool p{many(1, 4)};
  const auto guarded = [](std::string running, std::string ended) -> task<int> {
    struct at_end {
      std::string path;
      ~at_end() { mark(path); }
    } last{ended};
    mark(running);
    co_await sleep_for(1h);
    co_return 1;
  };
  auto f = p.apply_async(guarded, file("running"), file("ended"));
  EXPECT_EQ(f.get_for(10ms), std::nullopt);
  f.cancel();
  EXPECT_THROW(f.get(), cancelled_error);
  EXPECT_EQ(marks(file("ended")), marks(file("running"))) << "its objects were destroyed";
  EXPECT_TRUE(eventually([&] { return p.stats().running == 0; }));
}

TEST_P(Coroutine, AForcedStopThatIsCaughtInTimeKillsNoWorker) {
  pool p{many(1, 4)};
  const auto catches = [](std::string running) -> task<int> {
    mark(running);
    try {
      co_await sleep_for(1h);
    } catch (const std::system_error&) {
      co_return 7;
    }
    co_return 9;
  };
  auto forced = p.apply_async(catches, file("running"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 1; }));
  forced.cancel(force);
  EXPECT_EQ(forced.get(), 7) << "in time";
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(Coroutine, OneThatNeverWaitsLongHearsOfIt) {
  pool p{many(1, 4)};
  const auto busy = [](std::string running) -> task<int> {
    mark(running);
    auto executor = co_await asio::this_coro::executor;
    for (;;) {
      co_await asio::post(executor, asio::use_awaitable);
    }
  };
  auto f = p.apply_async(busy, file("running"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 1; }));
  EXPECT_EQ(p.apply(square, 3), 9) << "plain tasks get their turn";
  EXPECT_EQ(p.apply(square_later, 4), 16);
  f.cancel();
  EXPECT_THROW(f.get(), cancelled_error);
}

TEST_P(Coroutine, APlainTaskAmongThemHasItsStopToken) {
  pool p{many(1, 4)};
  auto waiting = p.apply_async(wait_for_ever, file("waiting"));
  ASSERT_TRUE(eventually([&] { return marks(file("waiting")) == 1; }));
  auto plain = p.apply_async(
      +[](std::string running) {
        const auto token = this_task::stop_token();
        mark(running);
        return eventually([&] { return token.stop_requested(); });
      },
      file("plain"));
  ASSERT_TRUE(eventually([&] { return marks(file("plain")) == 1; }));
  plain.cancel();
  waiting.cancel();  // its number is lower: the plain one keeps its request
  EXPECT_TRUE(plain.get());
  EXPECT_THROW(waiting.get(), cancelled_error);
}

TEST_P(Coroutine, TheTimeoutOfOneLeavesTheOthers) {
  pool p{many(2, 8)};
  const auto before = pids_of(p);
  std::vector<future<int>> results;
  for (int i = 0; i < 12; ++i) {
    results.push_back(p.apply_async(wait_without_a_thread, file("running"), file("gate"), i));
  }
  auto slow = p.with({.timeout = 30ms}).apply_async(wait_for_ever, file("running"));
  auto slower = p.with({.timeout = 60ms}).apply_async(wait_for_ever, file("running"));
  auto fast = p.with({.timeout = 1h}).apply_async(square_later, 3);
  EXPECT_THROW(slow.get(), timeout_error);
  EXPECT_THROW(slower.get(), timeout_error);
  EXPECT_EQ(fast.get(), 9);
  mark(file("gate"));
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(results[static_cast<std::size_t>(i)].get(), i);
  }
  EXPECT_EQ(pids_of(p), before) << "no worker had to go";
}

TEST_P(Coroutine, AShorterTimeoutIsNotForgottenBehindALongerOne) {
  pool p{many(1, 1)};
  auto with_long = p.with({.timeout = 1h});
  EXPECT_EQ(with_long.apply(square_later, 2), 4);
  EXPECT_THROW(p.with({.timeout = 30ms}).apply(wait_for_ever, file("running")), timeout_error);
}

TEST_P(Coroutine, TheDeadlineOfOneLeavesTheOthers) {
  pool p{many(1, 3)};
  auto waiting = p.apply_async(wait_without_a_thread, file("running"), file("gate"), 1);
  auto late = p.with({.deadline = 50ms}).apply_async(wait_for_ever, file("running"));
  auto third = p.apply_async(wait_without_a_thread, file("running"), file("gate"), 3);
  auto never = p.with({.deadline = 50ms}).apply_async(wait_for_ever, file("never"));
  EXPECT_THROW(late.get(), timeout_error);
  EXPECT_THROW(never.get(), timeout_error);
  mark(file("gate"));
  EXPECT_EQ(waiting.get(), 1);
  EXPECT_EQ(third.get(), 3);
}

TEST_P(Coroutine, ATimeoutThatIsIgnoredCostsTheNeighboursNoRetry) {
  pool p{many(1, 4)};
  const auto attempts = [](std::string path, std::string gate) -> task<std::uint32_t> {
    mark(path);
    const std::uint32_t attempt = this_task::attempt();
    while (marks(gate) == 0) {
      co_await sleep_for(1ms);
    }
    co_return attempt;
  };
  auto with_retries = p.with({.retries = 1}).apply_async(attempts, file("with"), file("gate"));
  auto without = p.apply_async(attempts, file("without"), file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(file("with")) == 1 && marks(file("without")) == 1; }));
  EXPECT_THROW(p.with({.timeout = 20ms, .grace = 20ms}).apply(stubborn, file("stubborn")),
               timeout_error);
  EXPECT_TRUE(fails_with(errc::worker_lost, [&] { return without.get(); }));
  ASSERT_TRUE(eventually([&] { return marks(file("with")) == 2; }));
  EXPECT_EQ(p.stats().deaths, 0U) << "the pool ended it, for its task";
  // The retry it asked for is still there.
  ::kill(static_cast<pid_t>(p.workers().front().pid), SIGKILL);
  ASSERT_TRUE(eventually([&] { return marks(file("with")) == 3; }));
  mark(file("gate"));
  EXPECT_EQ(with_retries.get(), 3U);
}

TEST_P(Coroutine, ForceEndsAStubbornOne) {
  pool p{many(1, 4)};
  auto f = p.with({.grace = 20ms}).apply_async(stubborn, file("running"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 1; }));
  EXPECT_FALSE(f.cancel());
  EXPECT_FALSE(f.cancel(force));
  EXPECT_THROW(f.get(), cancelled_error);
  EXPECT_EQ(p.apply(square_later, 3), 9);
}

TEST_P(Coroutine, ManyAreCancelledAtOnce) {
  pool p{many(2, 500)};
  std::vector<future<int>> results;
  for (int i = 0; i < 1000; ++i) {
    results.push_back(p.apply_async(wait_for_ever, file("running")));
  }
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 1000; }));
  for (auto& one : results) {
    one.cancel();
    one.cancel();
  }
  all_ready(results);
  EXPECT_EQ(p.stats().cancelled, 1000U);
  EXPECT_EQ(p.stats().deaths, 0U);
}

// ---- deaths ------------------------------------------------------------------------------------

TEST_P(Coroutine, ADeathFailsAllThatHadBegunAndNothingElse) {
  pool p{many(2, 4)};
  const std::string running = file("running");
  std::vector<future<int>> results;
  for (int i = 0; i < 8; ++i) {
    results.push_back(p.apply_async(wait_without_a_thread, running, file("gate"), i));
  }
  ASSERT_TRUE(eventually([&] { return marks(running) == 8; }));
  std::vector<future<int>> behind;
  for (int i = 0; i < 20; ++i) {
    behind.push_back(p.apply_async(square_later, i));
  }
  ::kill(static_cast<pid_t>(p.workers().front().pid), SIGKILL);
  ASSERT_TRUE(eventually([&] { return p.stats().failed == 4; }));
  mark(file("gate"));
  int lost = 0;
  for (int i = 0; i < 8; ++i) {
    try {
      EXPECT_EQ(results[static_cast<std::size_t>(i)].get(), i);
    } catch (const worker_lost&) {
      ++lost;
    }
  }
  EXPECT_EQ(lost, 4);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(behind[static_cast<std::size_t>(i)].get(), i * i) << "it had not begun";
  }
  EXPECT_EQ(p.stats().deaths, 1U);
}

TEST_P(Coroutine, RetriesBringBackAllThatADeathTook) {
  pool p{many(1, 8)};
  std::vector<future<int>> results;
  for (int i = 0; i < 8; ++i) {
    results.push_back(p.with({.retries = 1})
                          .apply_async(wait_without_a_thread, file("running"), file("gate"), i));
  }
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 8; }));
  ::kill(static_cast<pid_t>(p.workers().front().pid), SIGKILL);
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 16; }));
  mark(file("gate"));
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(results[static_cast<std::size_t>(i)].get(), i);
  }
  EXPECT_EQ(marks(file("running")), 16U) << "none ran a third time";
  EXPECT_EQ(p.stats().retried, 8U);
}

TEST_P(Coroutine, NothingIsLostOrDoneTwiceWhileWorkersDie) {
  pool_options sturdy = many(2, 8);
  sturdy.restart.intensity = 1000;
  pool p{sturdy};
  const auto work = [](int x) -> task<int> {
    co_await sleep_for(1ms);
    if (x % 50 == 49 && this_task::attempt() == 1) {
      ::raise(SIGKILL);
    }
    co_return x;
  };
  std::vector<future<int>> results;
  for (int i = 0; i < 500; ++i) {
    results.push_back(p.with({.retries = 100}).apply_async(work, i));
  }
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(results[static_cast<std::size_t>(i)].get(), i);
  }
  EXPECT_EQ(p.stats().succeeded, 500U);
  EXPECT_EQ(p.stats().failed, 0U);
  EXPECT_TRUE(eventually([&] { return p.stats().running + p.stats().queued == 0; }));
}

TEST_P(Coroutine, ADeathAtAnyStationLosesNothing) {
  namespace failpoint = detail::failpoint;
  for (const char* where :
       {"worker.claimed", "worker.ran", "worker.result_half_written", "worker.sent"}) {
    SCOPED_TRACE(where);
    pool p{many(2, 8)};
    failpoint::arm(where, failpoint::action::kill, 20);
    std::vector<future<int>> results;
    for (int i = 0; i < 100; ++i) {
      results.push_back(p.with({.retries = 1}).apply_async(square_later, i));
    }
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(results[static_cast<std::size_t>(i)].get(), i * i);
    }
    EXPECT_EQ(p.stats().deaths, 1U);
    EXPECT_EQ(p.stats().succeeded, 100U);
    EXPECT_LE(p.stats().retried, 8U);
    failpoint::reset();
  }
}

// ---- the pool's life ---------------------------------------------------------------------------

TEST_P(Coroutine, WorkersAreRecycledWhenTheirsHaveEnded) {
  pool_options recycled = many(2, 4);
  recycled.max_tasks_per_worker = 5;
  pool p{recycled};
  const auto pid_later = [](int) -> task<std::int64_t> {
    co_await sleep_for(2ms);
    co_return ::getpid();
  };
  const auto pids = p.map(pid_later, std::views::iota(0, 60));
  for (const std::int64_t pid : pids) {
    EXPECT_LE(std::ranges::count(pids, pid), 5);
  }
  EXPECT_EQ(p.stats().deaths, 0U);
  EXPECT_TRUE(eventually([&] { return p.stats().recycled > 0; }));
}

TEST_P(Coroutine, CloseAndJoinLetThemEnd) {
  pool p{many(2, 8)};
  std::vector<future<int>> results;
  for (int i = 0; i < 40; ++i) {
    results.push_back(p.apply_async(square_later, i));
  }
  p.close();
  EXPECT_THROW(static_cast<void>(p.apply_async(square_now, 1)), pool_closed);
  p.join();
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(results[static_cast<std::size_t>(i)].ready());
    EXPECT_EQ(results[static_cast<std::size_t>(i)].get(), i * i);
  }
}

TEST_P(Coroutine, TerminateCancelsThemAll) {
  pool p{many(2, 8)};
  std::vector<future<int>> results;
  for (int i = 0; i < 40; ++i) {
    results.push_back(p.apply_async(wait_for_ever, file("running")));
  }
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 16; }));
  p.terminate();
  p.join();
  for (const auto& one : results) {
    EXPECT_THROW(one.get(), cancelled_error);
  }
  EXPECT_EQ(marks(file("running")), 16U);
}

TEST_P(Coroutine, TheDestructorEndsStubbornOnes) {
  std::vector<future<int>> results;
  {
    pool p{many(1, 4)};
    for (int i = 0; i < 4; ++i) {
      results.push_back(p.apply_async(stubborn, file("running")));
    }
    ASSERT_TRUE(eventually([&] { return marks(file("running")) == 4; }));
  }
  for (const auto& one : results) {
    EXPECT_THROW(one.get(), cancelled_error);
  }
}

}  // namespace
}  // namespace troupe::test
