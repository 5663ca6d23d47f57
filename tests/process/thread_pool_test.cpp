// SPDX-License-Identifier: BSD-3-Clause
// What only a thread pool does: nothing is serialized, threads cannot be killed, workers run
// other tasks while they wait.
#include "troupe/thread_pool.hpp"

#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <fstream>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

struct ThreadPool : pool_test {};

struct own_exception {
  int number;
};

// ---- nothing is serialized ----------------------------------------------------------------------

TEST_F(ThreadPool, TakesLambdasThatCapture) {
  thread_pool p{{.workers = 2}};
  const int factor = 3;
  std::vector<int> seen(100);
  EXPECT_EQ(p.apply([&](int x) { return factor * x; }, 5), 15);
  p.map([&](int i) { seen[static_cast<std::size_t>(i)] = i + 1; }, std::views::iota(0, 100));
  EXPECT_EQ(std::accumulate(seen.begin(), seen.end(), 0), 5050);
}

TEST_F(ThreadPool, TakesWhatCanOnlyBeMoved) {
  thread_pool p{{.workers = 1}};
  auto callable = [inside = std::make_unique<int>(4)](std::unique_ptr<int> x) {
    return std::make_unique<int>(*inside + *x);
  };
  const auto f = p.apply_async(std::move(callable), std::make_unique<int>(5));
  EXPECT_EQ(*f.get(), 9);
  EXPECT_TRUE(fails_with(errc::no_state, [&] { return f.get(); })) << "it was moved out";
  EXPECT_TRUE(f.successful());
}

TEST_F(ThreadPool, WhatATaskWroteIsSeenAfterGet) {
  thread_pool p{{.workers = 2}};
  for (int i = 0; i < 10'000; ++i) {
    int written = 0;  // ThreadSanitizer reports a race if get does not order the two accesses
    p.apply_async([&] { written = i + 1; }).get();
    ASSERT_EQ(written, i + 1);
  }
}

TEST_F(ThreadPool, WhatWasMovedIntoARefusedCallIsGone) {
  thread_pool p{{.workers = 1, .max_queued = 1}};
  thread_gate gate;
  const auto held = p.apply_async([&] { gate.wait(); });
  gate.wait_for_waiters(1);
  const auto queued = p.apply_async(square, 2);
  auto argument = std::make_unique<int>(5);
  EXPECT_FALSE(p.try_apply_async([](std::unique_ptr<int> x) { return *x; }, std::move(argument)));
  EXPECT_EQ(argument, nullptr);  // NOLINT(bugprone-use-after-move): this is the promise
  gate.open();
}

TEST_F(ThreadPool, MapsWhatCanOnlyBeMoved) {
  thread_pool p{{.workers = 2}};
  std::vector<std::unique_ptr<int>> items;
  for (int i = 0; i < 50; ++i) {
    items.push_back(std::make_unique<int>(i));
  }
  const std::ranges::subrange movable{std::make_move_iterator(items.begin()),
                                      std::make_move_iterator(items.end())};
  const auto results =
      p.map([](std::unique_ptr<int> x) { return std::make_unique<int>(*x * 2); }, movable);
  ASSERT_EQ(results.size(), 50U);
  EXPECT_EQ(*results[49], 98);
}

TEST_F(ThreadPool, PassesReferencesThatAreAskedFor) {
  thread_pool p{{.workers = 1}};
  int counter = 0;
  p.apply([](int& c) { ++c; }, std::ref(counter));
  EXPECT_EQ(counter, 1);
}

TEST_F(ThreadPool, AResultThatCopiesCanBeHadAgain) {
  thread_pool p{{.workers = 1}};
  const auto f = p.apply_async([] { return std::string(100, 'x'); });
  EXPECT_EQ(f.get(), f.get());
  EXPECT_EQ(f.get().size(), 100U);
}

TEST_F(ThreadPool, TheExceptionIsTheOneThatWasThrown) {
  thread_pool p{{.workers = 1}};
  const auto f = p.apply_async([]() -> int { throw own_exception{42}; });
  try {
    f.get();
    FAIL() << "nothing was thrown";
  } catch (const own_exception& thrown) {
    EXPECT_EQ(thrown.number, 42);
  }
  EXPECT_THROW(std::rethrow_exception(f.exception()), own_exception);
  EXPECT_FALSE(f.cancelled());
  EXPECT_FALSE(f.successful());
  EXPECT_THROW(p.map([](int) -> int { throw own_exception{1}; }, std::vector{1}), own_exception);
  EXPECT_THROW(p.map_async([](int) -> int { throw own_exception{1}; }, std::vector{1}).get(),
               own_exception);
}

TEST_F(ThreadPool, ACopyOfTheFunctionIsMadeForEachItemIfItChangesItself) {
  thread_pool p{{.workers = 2}};
  const auto results = p.map([n = 0](int x) mutable { return x + ++n; }, std::views::iota(0, 100));
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(results[static_cast<std::size_t>(i)], i + 1);
  }
}

TEST_F(ThreadPool, ArgumentsAndFunctionsAreGoneWhenTheFutureIsReady) {
  thread_pool p{{.workers = 1}};
  const auto captured = std::make_shared<int>(1);
  const auto argument = std::make_shared<int>(2);
  const auto f =
      p.apply_async([captured](const std::shared_ptr<int>& x) { return *captured + *x; }, argument);
  f.wait();
  EXPECT_EQ(captured.use_count(), 1);
  EXPECT_EQ(argument.use_count(), 1);
  const auto bad = p.apply_async([captured]() -> int { throw own_exception{*captured}; });
  bad.wait();
  EXPECT_EQ(captured.use_count(), 1);
}

TEST_F(ThreadPool, WhatWasGivenToACancelledTaskIsGoneAtOnce) {
  thread_pool p{{.workers = 1}};
  thread_gate gate;
  const auto held = p.apply_async([&] { gate.wait(); });
  gate.wait_for_waiters(1);
  const auto argument = std::make_shared<int>(2);
  auto f = p.apply_async([](const std::shared_ptr<int>& x) { return *x; }, argument);
  EXPECT_EQ(argument.use_count(), 2);
  EXPECT_TRUE(f.cancel());
  EXPECT_EQ(argument.use_count(), 1);
  gate.open();
}

// ---- maps ---------------------------------------------------------------------------------------

TEST_F(ThreadPool, MapsGiveTheSerialResultWhateverTheChunk) {
  thread_pool p{{.workers = 2}};
  std::vector<int> expected;
  for (int i = 0; i < 3000; ++i) {
    expected.push_back(i * i);
  }
  const std::vector<std::pair<int, int>> pairs{{1, 2}, {3, 4}};
  for (const std::size_t chunk : {0U, 1U, 7U, 1000U, 5000U}) {
    EXPECT_EQ(p.map(square, std::views::iota(0, 3000), {.chunk = chunk}), expected);
    EXPECT_EQ(p.map_async(square, std::views::iota(0, 3000), {.chunk = chunk}).get(), expected);
    EXPECT_EQ(p.starmap(add, pairs, {.chunk = chunk}), (std::vector{3, 7}));
    EXPECT_EQ(p.starmap_async(add, pairs, {.chunk = chunk}).get(), (std::vector{3, 7}));
    std::vector<int> any_order;
    for (const int y : p.imap_unordered(square, std::views::iota(0, 3000), {.chunk = chunk})) {
      any_order.push_back(y);
    }
    std::sort(any_order.begin(), any_order.end());
    EXPECT_EQ(any_order, expected);
  }
  EXPECT_TRUE(p.map(square, std::vector<int>{}).empty());
  EXPECT_TRUE(p.map_async(square, std::vector<int>{}).get().empty());
}

TEST_F(ThreadPool, TheFirstFailureInInputOrderIsThrownAndCancelsWhatComesAfterIt) {
  thread_pool p{{.workers = 2}};
  thread_gate gate;
  std::atomic<int> ran{0};
  const auto work = [&](int i) {
    ++ran;
    if (i == 3) {
      gate.wait();
      throw own_exception{3};
    }
    if (i == 6) {
      gate.open();
      throw own_exception{6};
    }
    return i;
  };
  try {
    p.map(work, std::views::iota(0, 100'000), {.chunk = 1});
    FAIL() << "nothing was thrown";
  } catch (const own_exception& thrown) {
    EXPECT_EQ(thrown.number, 3);
  }
  EXPECT_LT(ran, 100'000);
  EXPECT_EQ(p.apply(square, 3), 9);
}

TEST_F(ThreadPool, AMapThatIsGivenUpCancelsWhatHasNotBegun) {
  thread_pool p{{.workers = 1}};
  thread_gate gate;
  std::atomic<int> ran{0};
  {
    auto results = p.imap(
        [&](int) {
          ++ran;
          gate.wait();
          return 0;
        },
        std::views::iota(0, 100), {.chunk = 1, .window = 50});
    std::jthread opener{[&] {
      gate.wait_for_waiters(1);
      gate.open();
    }};
    results.begin();
  }
  p.close();
  p.join();
  EXPECT_LT(ran, 100);
}

TEST_F(ThreadPool, CancellingAMapStopsItsTasks) {
  thread_pool p{{.workers = 2}};
  std::latch begun{2};
  auto f = p.map_async(
      [&](int) {
        const auto token = this_task::stop_token();
        begun.arrive_and_wait();
        return eventually([&] { return token.stop_requested(); });
      },
      std::views::iota(0, 2), {.chunk = 1});
  begun.wait();
  EXPECT_FALSE(f.cancel());
  EXPECT_EQ(f.get(), (std::vector<bool>{true, true}));
}

TEST_F(ThreadPool, ItemsOfAMapThatWaitForEachOtherRunAtOnce) {
  thread_pool p{{.workers = 2}};
  p.map([](int x) { return x; }, std::views::iota(0, 10'000));  // short ones: submissions grow
  std::latch both{2};
  p.map([&](int) { both.arrive_and_wait(); }, std::views::iota(0, 2));
}

// ---- a thread cannot be killed ------------------------------------------------------------------

TEST_F(ThreadPool, ATimeoutEndsTheFutureOfATaskThatDoesNotListen) {
  thread_pool p{{.workers = 1}};
  thread_gate gate;
  const auto f = p.with({.timeout = 5ms, .grace = 5ms}).apply_async([&] { gate.wait(); });
  EXPECT_THROW(f.get(), timeout_error);
  EXPECT_EQ(p.stats().running, 1U) << "the thread is still busy";
  const auto next = p.apply_async(square, 3);
  EXPECT_FALSE(next.wait_for(5ms));
  gate.open();
  EXPECT_EQ(next.get(), 9);
  EXPECT_EQ(p.stats().failed, 1U);
}

TEST_F(ThreadPool, ForceGivesUpTheFutureAfterTheGraceTime) {
  thread_pool p{{.workers = 1, .grace = 5ms}};
  thread_gate gate;
  auto f = p.apply_async([&] { gate.wait(); });
  gate.wait_for_waiters(1);
  EXPECT_FALSE(f.cancel(force));
  EXPECT_THROW(f.get(), cancelled_error);
  EXPECT_TRUE(f.cancelled());
  gate.open();
}

TEST_F(ThreadPool, NothingOfAMapBeginsOnceItWasGivenUpByForce) {
  thread_pool p{{.workers = 1, .grace = 0ms}};
  thread_gate gate;
  std::atomic<int> ran{0};
  auto f = p.map_async(
      [&](int) {
        ++ran;
        gate.wait();
      },
      std::views::iota(0, 16), {.chunk = 16});
  gate.wait_for_waiters(1);
  f.cancel(force);
  EXPECT_TRUE(fails_with(errc::cancelled, [&] { return f.get(), 0; }));
  gate.open();
  p.close();
  p.join();
  EXPECT_EQ(ran, 1);
}

TEST_F(ThreadPool, TheDestructorWaitsForTheRunningTaskAndDropsTheOthers) {
  std::atomic<bool> ended{false};
  future<int> queued;
  {
    thread_pool p{{.workers = 1, .grace = 1h}};
    std::latch begun{1};
    const auto running = p.apply_async([&] {
      const auto token = this_task::stop_token();
      begun.count_down();
      EXPECT_TRUE(eventually([&] { return token.stop_requested(); }));
      ended = true;
    });
    begun.wait();
    queued = p.apply_async(square, 3);
  }
  EXPECT_TRUE(ended);
  EXPECT_THROW(queued.get(), cancelled_error);
}

TEST_F(ThreadPool, MayEndInOneOfItsOwnTasks) {
  auto p = std::make_shared<thread_pool>(thread_pool_options{.workers = 2});
  std::promise<void> gone;
  auto hold = p->apply_async([p, &gone]() mutable {
    p.reset();
    gone.set_value();
  });
  p.reset();
  gone.get_future().wait();
  hold.wait();
}

// ---- running other tasks in a wait
// -----------------------------------------------------------------------------

int fibonacci(thread_pool& p, int n) {
  if (n < 2) {
    return n;
  }
  const auto one = p.apply_async(fibonacci, std::ref(p), n - 1);
  const auto two = p.apply_async(fibonacci, std::ref(p), n - 2);
  return one.get() + two.get();
}

TEST_F(ThreadPool, TasksMaySubmitToTheirOwnPoolAndWait) {
  for (const int workers : {1, 2, 3}) {
    thread_pool p{{.workers = workers}};
    EXPECT_EQ(p.apply(fibonacci, std::ref(p), 12), 144);
  }
}

TEST_F(ThreadPool, TasksMayMapOnTheirOwnPool) {
  thread_pool p{{.workers = 1}};
  const auto sum = [&](int n) {
    const auto squares = p.map(square, std::views::iota(0, n));
    auto more = p.map_async(square, std::views::iota(0, n)).get();
    int total = std::accumulate(squares.begin(), squares.end(), 0);
    for (const int y : p.imap_unordered(square, std::views::iota(0, n))) {
      total += y;
    }
    return total + static_cast<int>(more.size());
  };
  EXPECT_EQ(p.map(sum, std::vector{3, 4}), (std::vector{5 + 3 + 5, 14 + 4 + 14}));
}

int count_down(thread_pool& p, int n) {
  return n == 0 ? 0 : 1 + p.apply_async(count_down, std::ref(p), n - 1).get();
}

TEST_F(ThreadPool, WaitingTooDeepEndsWithAnErrorThatSaysSo) {
  thread_pool p{{.workers = 1}};
  EXPECT_EQ(p.apply(count_down, std::ref(p), 63), 63);
  EXPECT_EQ(p.apply(count_down, std::ref(p), 1000), 1000) << "on further threads";
  try {
    p.apply(count_down, std::ref(p), 10'000);
    FAIL() << "nothing was thrown";
  } catch (const error& thrown) {
    EXPECT_EQ(thrown.code(), errc::would_deadlock);
    EXPECT_NE(std::string{thrown.what()}.find("64 deep"), std::string::npos) << thrown.what();
  }
  EXPECT_EQ(p.apply(square, 3), 9);
}

TEST_F(ThreadPool, ATaskThatWaitsForRoomBehindTasksOfAnotherWorkerSleeps) {
  thread_pool p{{.workers = 2, .max_queued = 4}};
  thread_gate gate;
  auto bound = p.with({.affinity = "a"});
  const auto first = bound.apply_async([&] { gate.wait(); });
  gate.wait_for_waiters(1);
  std::atomic<int> thread{0};
  std::atomic<bool> full{false};
  const auto waits = p.apply_async([&] {
    thread = ::gettid();
    full.wait(false);
    return p.apply_async(square, 3).get();
  });
  for (int i = 0; i < 4; ++i) {
    static_cast<void>(bound.apply_async([] {}));
  }
  full = true;
  full.notify_all();
  // Many looks in a row: one that looks for tasks all the time may sleep for a moment, too.
  int in_a_row = 0;
  EXPECT_TRUE(eventually([&] {
    std::ifstream in{"/proc/self/task/" + std::to_string(thread) + "/stat"};
    std::string text;
    std::getline(in, text);
    in_a_row = text.find(") S ") != std::string::npos ? in_a_row + 1 : 0;
    return in_a_row == 20;
  }));
  gate.open();
  EXPECT_EQ(waits.get(), 9);
}

TEST_F(ThreadPool, TasksThatWaitForAFullQueueMakeRoom) {
  thread_pool p{{.workers = 1, .max_queued = 2}};
  std::atomic<int> ran{0};
  p.apply([&] {
    for (int i = 0; i < 20; ++i) {
      static_cast<void>(p.apply_async([&] { ++ran; }));
    }
  });
  p.close();
  p.join();
  EXPECT_EQ(ran, 20);
}

TEST_F(ThreadPool, WaitingForAnotherPoolRunsTasksOfTheOwn) {
  thread_pool a{{.workers = 1}};
  thread_pool b{{.workers = 1}};
  // a's only worker waits for b's, which waits for a task of a.
  EXPECT_EQ(a.apply([&] {
    return b.apply_async([&] { return a.apply_async(square, 3).get() + 1; }).get() + 1;
  }),
            11);
}

TEST_F(ThreadPool, JoiningInATaskIsRefused) {
  thread_pool p{{.workers = 1}};
  EXPECT_TRUE(p.apply([&] {
    p.close();
    return static_cast<bool>(fails_with(errc::would_deadlock, [&] {
      p.join();
      return 0;
    }));
  }));
  p.join();
}

TEST_F(ThreadPool, ThisTaskIsTheInnermostOne) {
  thread_pool p{{.workers = 1}};
  const auto [outer, inner, again] = p.apply([&] {
    const auto before = this_task::id();
    const auto nested = p.apply([] { return this_task::id(); });
    return std::tuple{before, nested, this_task::id()};
  });
  EXPECT_NE(outer, inner);
  EXPECT_EQ(outer, again);
}

// ---- threads ------------------------------------------------------------------------------------

TEST_F(ThreadPool, ItsThreadsHaveNames) {
  thread_pool p{{.workers = 3, .name = "a rather long name"}};
  std::set<std::string> names;
  std::latch all{3};
  std::mutex mutex;
  p.map(
      [&](int) {
        std::string name(16, '\0');
        ::pthread_getname_np(::pthread_self(), name.data(), name.size());
        name.resize(name.find('\0'));
        all.arrive_and_wait();
        const std::lock_guard lock{mutex};
        names.insert(name);
      },
      std::views::iota(0, 3), {.chunk = 1});
  EXPECT_EQ(names,
            (std::set<std::string>{"a rather long_0", "a rather long_1", "a rather long_2"}));
  std::set<std::uint64_t> ids;
  for (const worker_info& worker : p.workers()) {
    ids.insert(worker.id);
    EXPECT_GT(worker.pid, 0);
  }
  EXPECT_EQ(ids.size(), 3U);
}

TEST_F(ThreadPool, ThePidsOfItsWorkersAreTheThreadsIdsForTheKernel) {
  thread_pool p{{.workers = 1}};
  const std::int64_t thread = p.apply([] { return static_cast<std::int64_t>(::gettid()); });
  const auto workers = p.workers();
  ASSERT_EQ(workers.size(), 1U);
  EXPECT_EQ(workers[0].pid, thread);
}

TEST_F(ThreadPool, TimesAndRetriesOutOfRangeAreRefused) {
  const thread_pool p{{.workers = 1}};
  EXPECT_THROW(p.with({.retries = -1}).apply(square, 1), std::invalid_argument);
  EXPECT_THROW(p.with({.timeout = 0ms}).apply(square, 1), std::invalid_argument);
  EXPECT_THROW((thread_pool{{.grace = -1ms}}), std::invalid_argument);
}

TEST_F(ThreadPool, CallbacksOfAFutureThatOutlivesItStillRun) {
  future<int> f;
  {
    thread_pool p{{.workers = 1}};
    f = p.apply_async(square, 3);
    p.close();
    p.join();
  }
  std::promise<int> called;
  f.on_result([&](int v) { called.set_value(v); });
  EXPECT_EQ(called.get_future().get(), 9);
}

TEST_F(ThreadPool, ManyThreadsSubmitManyTasks) {
  thread_pool p{{.workers = 3, .max_queued = 100}};
  std::atomic<int> sum{0};
  {
    std::vector<std::jthread> submitters;
    for (int t = 0; t < 4; ++t) {
      submitters.emplace_back([&] {
        for (int i = 0; i < 2000; ++i) {
          static_cast<void>(p.apply_async([&] { ++sum; }));
        }
      });
    }
  }
  p.close();
  p.join();
  EXPECT_EQ(sum, 8000);
  EXPECT_EQ(p.stats().succeeded, 8000U);
}

// ---- deadlines ----------------------------------------------------------------------------------

TEST_F(ThreadPool, ADeadlineAsksWhatRunsToStopAndGivesItUpAfterTheGraceTime) {
  thread_pool p{{.workers = 2}};
  auto polite = p.with({.deadline = 5ms}).apply_async([] {
    const std::stop_token stop = this_task::stop_token();
    while (!stop.stop_requested()) {
      std::this_thread::yield();
    }
  });
  EXPECT_TRUE(fails_with(errc::timeout, [&] { return polite.get(), 0; }))
      << "late is late, even if it stops";
  std::latch gate{1};
  auto deaf = p.with({.deadline = 5ms, .grace = 1ms}).apply_async([&] { gate.wait(); });
  EXPECT_TRUE(fails_with(errc::timeout, [&] { return deaf.get(), 0; }));
  gate.count_down();
}

TEST_F(ThreadPool, ATaskMayEndJustWhenItIsOverdueOrCancelled) {
  thread_pool p{{.workers = 2}};
  for (int i = 0; i < 1000; ++i) {
    thread_gate gate;  // ThreadSanitizer reports what the request and the outcome do not agree upon
    auto f = p.with({.deadline = 1ms}).apply_async([&] { gate.wait(); });
    gate.open();
    if (i % 2 == 0) {
      f.cancel();
    }
    f.wait();
    EXPECT_EQ(f.successful(), f.exception() == nullptr);
  }
}

}  // namespace
}  // namespace troupe::test
