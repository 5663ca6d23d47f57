// SPDX-License-Identifier: BSD-3-Clause
// How many workers a thread pool has, and which of them runs what: elastic ones, resize, affinity.
#include "troupe/executor.hpp"
#include "troupe/pool.hpp"
#include "troupe/thread_pool.hpp"

#include "os/failpoint.hpp"
#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <latch>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

using namespace std::chrono_literals;

struct ThreadSizing : pool_test {};

std::thread::id here() {
  return std::this_thread::get_id();
}

TEST_F(ThreadSizing, ResizeGrowsAndShrinks) {
  thread_pool p{{.workers = 1}};
  for (const int size : {4, 1, 8, 2, 3, 1}) {
    p.resize(size);
    EXPECT_TRUE(eventually([&] { return p.workers().size() == static_cast<std::size_t>(size); }))
        << p.workers().size() << " instead of " << size;
    EXPECT_EQ(p.map(square, std::views::iota(0, 50)).at(7), 49);
  }
  EXPECT_EQ(p.stats().succeeded, 300U);
  EXPECT_THROW(p.resize(0), std::invalid_argument);
  EXPECT_THROW(p.resize(10'000), std::invalid_argument);
  p.close();
  EXPECT_THROW(p.resize(2), pool_closed);
  p.join();
}

TEST_F(ThreadSizing, ResizeUnderLoadLosesNothing) {
  thread_pool p{{.workers = 3}};
  std::atomic<int> ran{0};
  std::vector<future<void>> all;
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 50; ++i) {
      all.push_back(p.apply_async([&] { ++ran; }));
    }
    p.resize(1 + round % 5);
  }
  for (const auto& f : all) {
    f.get();
  }
  EXPECT_EQ(ran, 2000);
}

TEST_F(ThreadSizing, ManyWaitingTasksAndAShrinkingPoolStillFinish) {
  thread_pool p{{.workers = 4}};
  std::latch gate{1};
  std::vector<future<int>> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(p.apply_async([&gate, i] {
      gate.wait();
      return i;
    }));
  }
  p.resize(1);
  gate.count_down();
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(all[static_cast<std::size_t>(i)].get(), i);
  }
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 1; }));
}

TEST_F(ThreadSizing, AnElasticPoolGrowsForTasksThatWaitOutsideOfIt) {
  // The second can only begin on another worker, and the first ends only then.
  thread_pool p{{.max_workers = 2}};
  for (int round = 0; round < 50; ++round) {
    std::latch both{2};
    auto one = p.apply_async([&] { both.arrive_and_wait(); });
    auto two = p.apply_async([&] { both.arrive_and_wait(); });
    one.get();
    two.get();
  }
}

TEST_F(ThreadSizing, ResizeEndsElasticity) {
  thread_pool p{{.min_workers = 1, .max_workers = 4, .idle_timeout = 1ms}};
  p.resize(3);
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 3; }));
  EXPECT_EQ(p.map(square, std::views::iota(0, 100)).size(), 100U);
  EXPECT_EQ(p.workers().size(), 3U);
}

TEST_F(ThreadSizing, WhatIsBoundToAWorkerThatCannotBeginRunsInAPoolThatIsClosedMeanwhile) {
  std::atomic<int> begun{0};
  thread_gate starting;
  thread_pool p{{.initializer =
                     [&] {
                       if (++begun > 1) {
                         starting.wait();
                         throw std::domain_error{"only one"};
                       }
                     },
                 .min_workers = 1,
                 .max_workers = 2}};
  thread_gate gate;
  const auto held = p.apply_async([&] { gate.wait(); });
  gate.wait_for_waiters(1);
  const auto queued = p.apply_async(square, 2);
  starting.wait_for_waiters(1);
  const auto bound = p.with({.affinity = "k"}).apply_async(square, 3);
  p.close();
  gate.open();
  EXPECT_EQ(queued.get(), 4);
  for (int i = 0; i < 200 && !p.workers().empty(); ++i) {
    std::this_thread::yield();  // the one that could begin may leave, unless it is needed
  }
  starting.open();
  EXPECT_EQ(bound.get(), 9);
  p.join();
}

TEST_F(ThreadSizing, AnElasticPoolWhoseFurtherWorkersCannotBeginGoesOnWithWhatItHas) {
  std::atomic<int> begun{0};
  thread_pool p{{.initializer =
                     [&] {
                       if (++begun > 1) {
                         throw std::domain_error{"only one"};
                       }
                     },
                 .max_workers = 4}};
  std::vector<future<int>> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(p.apply_async(square, i));
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(all[static_cast<std::size_t>(i)].get(), i * i);
  }
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 1; }));
}

TEST_F(ThreadSizing, ANewWorkerOfAResizeWhoseInitializerThrowsEndsAgain) {
  std::atomic<int> begun{0};
  thread_pool p{{.workers = 1, .initializer = [&] {
                   if (++begun > 1) {
                     throw std::domain_error{"only one"};
                   }
                 }}};
  p.resize(3);
  EXPECT_TRUE(eventually([&] { return begun >= 3; }));
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 1; }));
  EXPECT_EQ(p.map(square, std::views::iota(0, 100)).at(9), 81);
}

#if defined(TROUPE_FAILPOINTS) && TROUPE_FAILPOINTS

struct ThreadShortage : pool_test {
 protected:
  ThreadShortage() {
    detail::failpoint::reset();  // the table stays for good, once it is there
    take_baseline();
  }
  ~ThreadShortage() override { detail::failpoint::reset(); }
  static void refuse_thread(std::uint32_t nth) {
    detail::failpoint::arm("thread.start", detail::failpoint::action::give_errno, nth, 1, EAGAIN);
  }
};

TEST_F(ThreadShortage, WithoutThreadsTheConstructorFailsAndLeavesNone) {
  refuse_thread(3);
  EXPECT_TRUE(
      fails_with(errc::resource_exhausted, [] { return thread_pool{{.workers = 4}}.workers(); }));
  thread_pool p{{.workers = 4}};
  EXPECT_EQ(p.apply(square, 3), 9);
}

TEST_F(ThreadShortage, WithoutThreadsAResizeFailsAndThePoolGoesOn) {
  thread_pool p{{.workers = 2}};
  refuse_thread(2);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return p.resize(5), 0; }));
  EXPECT_EQ(p.map(square, std::views::iota(0, 100)).at(9), 81);
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 3; })) << "one thread could be started";
  p.resize(4);
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 4; }));
}

// Issue 11, 15.
TEST_F(ThreadShortage, WithoutAThreadForLimitsOrRetriesASubmissionIsRefused) {
  const auto retry = [](const error&) { return true; };
  for (const task_options& how : {task_options{.timeout = 1h}, task_options{.deadline = 1h},
                                  task_options{.retries = 1, .retry_if = retry},
                                  task_options{.retries = 1, .retry_if = retry, .backoff = 1h}}) {
    thread_pool p{{.workers = 1}};
    auto limited = p.with(how);
    refuse_thread(1);
    EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return limited.apply(square, 3); }));
    EXPECT_EQ(p.apply(square, 3), 9);
    EXPECT_EQ(limited.apply(square, 4), 16) << "there is a thread again";
    refuse_thread(1);
    EXPECT_EQ(limited.map(square, std::views::iota(0, 5)).back(), 16) << "it is there already";
    detail::failpoint::reset();
  }
}

// Issue 11, 15.
TEST_F(ThreadShortage, WithoutAThreadForCallbacksTheyAreRefused) {
  thread_gate gate;
  thread_pool p{{.workers = 1}};
  const auto f = p.apply_async([&] {
    gate.wait();
    return 1;
  });
  std::atomic<int> called{0};
  const auto refused = [&](const auto& add) {
    refuse_thread(1);
    return fails_with(errc::resource_exhausted, [&] { return add(), 0; });
  };
  EXPECT_TRUE(refused([&] { f.on_result([&](int) { ++called; }); }));
  EXPECT_TRUE(refused([&] { f.on_done([&](const future<int>&) { ++called; }); }));
  EXPECT_TRUE(refused([&] { f.on_progress([&](const task_progress&) { ++called; }); }));
  EXPECT_TRUE(refused([&] { static_cast<void>(f.then([&](int) { return ++called; })); }));
  gate.open();
  EXPECT_EQ(f.get(), 1);
  EXPECT_TRUE(refused([&] { f.on_result([&](int) { ++called; }); }));
  EXPECT_EQ(f.then([](int x) { return x + 1; }).get(), 2) << "there is a thread again";
  EXPECT_EQ(called, 0);
}

// Issue 11, 15.
TEST_F(ThreadShortage, WithoutAThreadForIdleWorkersAnElasticPoolIsNotMade) {
  refuse_thread(2);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [] {
    return thread_pool{{.min_workers = 1, .max_workers = 2}}.workers();
  }));
  thread_pool p{{.min_workers = 1, .max_workers = 2}};
  EXPECT_EQ(p.apply(square, 3), 9);
}

// Issue 11, 15.
TEST_F(ThreadShortage, WithoutAThreadForTheGraceTimeWhatRunsIsGivenUpAtOnce) {
  for (const bool terminates : {false, true}) {
    thread_gate gate;
    thread_pool p{{.workers = 1, .grace = 1h}};
    auto f = p.apply_async([&] { gate.wait(); });
    gate.wait_for_waiters(1);
    refuse_thread(1);
    if (terminates) {
      p.terminate();
    } else {
      EXPECT_FALSE(f.cancel(force));
    }
    EXPECT_TRUE(f.wait_for(eventually_deadline));
    EXPECT_TRUE(f.cancelled());
    gate.open();
  }
}

#endif

struct MovedFromPool : pool_test {};

/// Every use of it is refused, and the other one works.
template <class Pool>
void check_moved_from() {
  Pool from{{.workers = 1}};
  Pool to{std::move(from)};
  const auto refused = [&](const auto& use) {
    return fails_with(errc::no_state, [&] { return use(from), 0; });
  };
  // NOLINTBEGIN(bugprone-use-after-move): that is what is tested
  EXPECT_TRUE(refused([](auto& p) { static_cast<void>(p.apply(square, 3)); }));
  EXPECT_TRUE(refused([](auto& p) { static_cast<void>(p.apply_async(square, 3)); }));
  EXPECT_TRUE(refused([](auto& p) { static_cast<void>(p.try_apply_async(square, 3)); }));
  EXPECT_TRUE(refused([](auto& p) { static_cast<void>(p.map(square, std::vector{1})); }));
  EXPECT_TRUE(refused([](auto& p) { static_cast<void>(p.map_async(square, std::vector{1})); }));
  EXPECT_TRUE(refused([](auto& p) { p.imap(square, std::vector{1}).begin(); }));
  EXPECT_TRUE(
      refused([](auto& p) { static_cast<void>(p.with({.priority = 1}).apply(square, 3)); }));
  EXPECT_TRUE(refused(
      [](auto& p) { static_cast<void>(p.with({.priority = 1}).map(square, std::vector{1})); }));
  EXPECT_TRUE(refused([](auto& p) { p.close(); }));
  EXPECT_TRUE(refused([](auto& p) { p.join(); }));
  EXPECT_TRUE(refused([](auto& p) { p.terminate(); }));
  EXPECT_TRUE(refused([](auto& p) { p.resize(2); }));
  EXPECT_TRUE(refused([](auto& p) { static_cast<void>(p.workers()); }));
  EXPECT_TRUE(refused([](auto& p) { static_cast<void>(p.stats()); }));
  // NOLINTEND(bugprone-use-after-move)
  EXPECT_EQ(to.apply(square, 3), 9);
}

// Issue 11, 34.
TEST_F(MovedFromPool, OfThreadsSaysSo) {
  check_moved_from<thread_pool>();
}

// Issue 11, 34.
TEST_F(MovedFromPool, OfProcessesSaysSo) {
  check_moved_from<pool>();
}

// Issue 11, 34.
TEST_F(MovedFromPool, AnExecutorSaysSo) {
  thread_pool_executor from{{.workers = 1}};
  thread_pool_executor to{std::move(from)};
  const auto refused = [&](const auto& use) {
    return fails_with(errc::no_state, [&] { return use(from), 0; });
  };
  // NOLINTBEGIN(bugprone-use-after-move): that is what is tested
  EXPECT_TRUE(refused([](auto& ex) { static_cast<void>(ex.submit(square, 3)); }));
  EXPECT_TRUE(refused([](auto& ex) { static_cast<void>(ex.map(square, std::vector{1})); }));
  EXPECT_TRUE(refused([](auto& ex) { ex.shutdown(); }));
  EXPECT_TRUE(refused([](auto& ex) { ex.terminate_workers(); }));
  EXPECT_TRUE(refused([](auto& ex) { ex.kill_workers(); }));
  // NOLINTEND(bugprone-use-after-move)
  EXPECT_EQ(to.submit(square, 3).get(), 9);
}

struct ThreadAffinity : pool_test {};

TEST_F(ThreadAffinity, ATaskThatWaitsForOneOfItsOwnKeyRunsIt) {
  thread_pool p{{.workers = 2}};
  const task_options keyed{.affinity = "k"};
  for (int round = 0; round < 50; ++round) {
    const bool same = p.with(keyed).apply([&] {
      const auto outer = here();
      return p.with(keyed).apply(here) == outer &&
             p.with({.affinity = "other"}).apply_async(here).get() != std::thread::id{};
    });
    EXPECT_TRUE(same);
  }
}

TEST_F(ThreadAffinity, WhatWaitsForAWorkerThatLeavesGoesElsewhere) {
  thread_pool p{{.workers = 4}};
  for (int round = 0; round < 20; ++round) {
    std::vector<future<std::thread::id>> bound;
    for (int i = 0; i < 40; ++i) {
      bound.push_back(p.with({.affinity = std::to_string(i % 8)}).apply_async(here));
    }
    p.resize(1 + round % 4);
    for (auto& f : bound) {
      EXPECT_NE(f.get(), std::thread::id{});
    }
  }
}

// All went to the first worker.
TEST_F(ThreadAffinity, NewKeysAreSpreadOverTheWorkers) {
  thread_pool p{{.workers = 4}};
  std::set<std::thread::id> seen;
  for (int i = 0; i < 40; ++i) {
    seen.insert(p.with({.affinity = "key " + std::to_string(i)}).apply(here));
  }
  EXPECT_EQ(seen.size(), 4U);
}

TEST_F(ThreadAffinity, UrgentBoundTasksComeBeforeTheRestOfAMap) {
  thread_pool p{{.workers = 1}};
  const task_options keyed{.priority = 1, .affinity = "k"};
  std::atomic<int> before{-1};
  std::atomic<int> done{0};
  future<void> urgent;
  p.map(
      [&](int i) {
        if (i == 10) {
          urgent = p.with(keyed).apply_async([&] { before = done.load(); });
        }
        ++done;
      },
      std::views::iota(0, 1000), {.chunk = 1});
  urgent.get();
  EXPECT_LT(before, 1000);
}

}  // namespace
}  // namespace troupe::test
