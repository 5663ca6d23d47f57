// SPDX-License-Identifier: BSD-3-Clause
// What join() of a thread pool waits for besides its workers: outcomes that another thread tells, be
// it the pool's own for limits of time or one of the user's that cancels.
#include "troupe/executor.hpp"
#include "troupe/this_task.hpp"
#include "troupe/thread_pool.hpp"

#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

/// Long enough for what must not happen to happen; nothing else waits for it.
constexpr auto a_while = 200ms;

struct ThreadJoin : pool_test {
 protected:
  using argument = std::shared_ptr<void>;

  /// An argument whose destructor holds up the thread that cancels its task: between the moment
  /// when no worker can have the task any more and its outcome.
  argument destroyed_slowly() {
    return {nullptr, [this](void*) {
              destroying_ = true;
              static_cast<void>(eventually([this] { return joined_.load(); }, a_while));
            }};
  }
  bool wait_for_destructor() {
    return eventually([this] { return destroying_.load(); });
  }

  /// A pool of one worker, which is busy until the gate opens, and a task behind that.
  future<int> submit_behind_a_busy_worker(const task_options& how = {}) {
    busy_ = pool_.apply_async([this] { gate_.wait(); });
    gate_.wait_for_waiters(1);
    auto behind =
        pool_.with(how).apply_async([](const argument&) { return 1; }, destroyed_slowly());
    behind.on_done([this](const auto&) { ++calls_; });
    return behind;
  }
  void close_and_join() {
    gate_.open();
    pool_.close();
    pool_.join();
    joined_ = true;
  }
  /// When the join has returned.
  void expect_told(const future<int>& one) {
    ASSERT_TRUE(one.ready());
    EXPECT_EQ(calls_, 1) << "its callback";
    EXPECT_EQ(pool_.stats().succeeded, 1U);
    EXPECT_EQ(pool_.stats().cancelled + pool_.stats().failed, 1U);
  }

  thread_gate gate_;
  std::atomic<bool> destroying_{false};
  std::atomic<bool> joined_{false};
  std::atomic<int> calls_{0};
  thread_pool pool_{{.workers = 1}};
  future<void> busy_;
};

TEST_F(ThreadJoin, WaitsForTheOutcomeOfATaskThatAnotherThreadCancels) {
  future<int> behind = submit_behind_a_busy_worker();
  const std::jthread cancels{[&] { EXPECT_TRUE(behind.cancel()); }};
  ASSERT_TRUE(wait_for_destructor());
  close_and_join();
  expect_told(behind);
}

TEST_F(ThreadJoin, WaitsForTheOutcomeOfATaskWhoseDeadlineHasPassed) {
  const future<int> behind = submit_behind_a_busy_worker({.deadline = 1ms});
  ASSERT_TRUE(wait_for_destructor());
  close_and_join();
  expect_told(behind);
}

TEST_F(ThreadJoin, WaitsForATerminateOnAnotherThread) {
  const future<int> first = submit_behind_a_busy_worker();
  const future<int> second = pool_.apply_async(square, 3);  // taken from the queue with the first
  const std::jthread terminates{[&] { pool_.terminate(); }};
  ASSERT_TRUE(wait_for_destructor());
  close_and_join();
  EXPECT_TRUE(first.ready());
  EXPECT_TRUE(second.ready());
  EXPECT_EQ(calls_, 1);
}

TEST_F(ThreadJoin, WaitsForTheOutcomesOfAnExecutorsTasksThatAreDropped) {
  thread_gate gate;
  thread_pool_executor ex{{.workers = 1}};
  const auto busy = ex.submit([&] { gate.wait(); });
  gate.wait_for_waiters(1);
  const future<int> first = ex.submit([](const argument&) { return 1; }, destroyed_slowly());
  const future<int> second = ex.submit(square, 3);
  const std::jthread drops{[&] { ex.shutdown({.cancel_pending = true, .wait = false}); }};
  ASSERT_TRUE(wait_for_destructor());
  gate.open();
  ex.shutdown();
  joined_ = true;
  EXPECT_TRUE(first.ready());
  EXPECT_TRUE(second.ready());
}

// The thread that ends the pool is then one that join would have to wait for.
TEST_F(ThreadJoin, APoolMayEndInADestructorThatACancellationRuns) {
  for (const bool by_deadline : {false, true}) {
    auto p = std::make_shared<thread_pool>(thread_pool_options{.workers = 1});
    std::latch begun{1};
    const auto busy = p->apply_async([&] {
      begun.count_down();
      const std::stop_token stop = this_task::stop_token();
      return eventually([&] { return stop.stop_requested(); });
    });
    begun.wait();
    const task_options how =
        by_deadline ? task_options{.deadline = 1ms} : task_options{.priority = 1};
    thread_pool& pool_of_both = *p;
    future<int> behind = pool_of_both.with(how).apply_async(
        [](const std::shared_ptr<thread_pool>&) { return 1; }, std::move(p));
    if (!by_deadline) {
      EXPECT_TRUE(behind.cancel());
    }
    ASSERT_TRUE(behind.wait_for(eventually_deadline));
    EXPECT_TRUE(busy.ready());
  }
}

// The worker is free as soon as its task is given up, and that has so many callbacks that it takes a
// while to tell them all.
TEST_F(ThreadJoin, WaitsForTheOutcomeOfATaskThatIsGivenUp) {
  constexpr int callbacks = 20'000;
  thread_pool p{{.workers = 1, .grace = 1ms}};
  const future<void> first = p.apply_async([this] { gate_.wait(); });
  const future<void> late = p.with({.timeout = 1ms}).apply_async([&] {
    while (p.stats().failed == 0) {
      std::this_thread::yield();
    }
  });
  for (int i = 0; i < callbacks; ++i) {
    late.on_done([this](const auto&) { ++calls_; });
  }
  gate_.open();
  p.close();
  p.join();
  EXPECT_TRUE(late.ready());
  EXPECT_EQ(calls_, callbacks);
}

}  // namespace
}  // namespace troupe::test
