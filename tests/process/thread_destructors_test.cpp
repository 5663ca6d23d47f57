// SPDX-License-Identifier: BSD-3-Clause
// What a thread pool's tasks held is destroyed where that may wait for other tasks.
#include "troupe/thread_pool.hpp"

#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

namespace troupe::test {
namespace {

struct ThreadDestructors : pool_test {};

/// Is called when the last task that has it is destroyed.
struct at_end {
  std::function<void()> call;
  explicit at_end(std::function<void()> c) : call{std::move(c)} {}
  at_end(const at_end&) = delete;
  at_end& operator=(const at_end&) = delete;
  ~at_end() { call(); }
};

/// Submits a task that nothing but the queue keeps: cancelled, and without a future.
void queue_what_calls_at_its_end(thread_pool& p, std::function<void()> call,
                                 const std::string& affinity = {}) {
  const auto kept = std::make_shared<at_end>(std::move(call));
  const task_options how{
      .retries = 1, .retry_if = [kept](const error&) { return false; }, .affinity = affinity};
  EXPECT_TRUE(p.with(how).apply_async([] {}).cancel());
}

TEST_F(ThreadDestructors, ADroppedTasksDestructorMayWaitForTheTaskBehindIt) {
  thread_pool p{{.workers = 1}};
  thread_gate gate;
  const auto held = p.apply_async([&] { gate.wait(); });
  gate.wait_for_waiters(1);
  std::promise<future<int>> behind;
  std::atomic<int> seen{0};
  queue_what_calls_at_its_end(p, [&] { seen = behind.get_future().get().get(); });
  const auto f = p.apply_async(square, 3);
  behind.set_value(f);
  gate.open();
  EXPECT_EQ(f.get(), 9);
  EXPECT_TRUE(eventually([&] { return seen == 9; }));
}

TEST_F(ThreadDestructors, ADroppedTasksDestructorMayWaitForThreadsThatSubmit) {
  thread_pool p{{.workers = 2}};
  auto bound = p.with({.affinity = "one"});
  bound.apply([] {});  // the other worker never had anything to do, and sleeps
  thread_gate gate;
  const auto held = bound.apply_async([&] { gate.wait(); });
  gate.wait_for_waiters(1);
  std::atomic<int> seen{0};
  queue_what_calls_at_its_end(
      p, [&] { std::jthread{[&] { seen = p.apply(square, 3); }}.join(); }, "one");
  gate.open();
  EXPECT_TRUE(eventually([&] { return seen == 9; }))
      << "its worker counts as one that looks for tasks";
}

TEST_F(ThreadDestructors, APoolGrowsWhileADestructorWaits) {
  thread_pool other{{.workers = 1}};
  thread_gate gate;
  const auto awaited = other.apply_async([&] { gate.wait(); });
  thread_pool p{{.min_workers = 1, .max_workers = 2}};
  thread_gate dropped;
  std::promise<void> waits;
  auto result = std::make_shared<at_end>([&] {
    waits.set_value();
    awaited.wait();
  });
  static_cast<void>(p.apply_async([&dropped, kept = std::exchange(result, nullptr)] {
    dropped.wait();
    return kept;
  }));
  dropped.open();
  waits.get_future().wait();
  const auto beside = p.apply_async(square, 3);
  EXPECT_TRUE(eventually([&] { return beside.ready(); })) << "no worker was started for it";
  gate.open();
}

TEST_F(ThreadDestructors, ADroppedResultsDestructorMayWaitForThreadsThatSubmit) {
  thread_pool p{{.workers = 2}};
  for (int round = 0; round < 20; ++round) {
    thread_gate gate;
    std::atomic<int> seen{0};
    auto result =
        std::make_shared<at_end>([&] { std::jthread{[&] { seen = p.apply(square, 3); }}.join(); });
    static_cast<void>(p.apply_async([&gate, kept = std::exchange(result, nullptr)] {
      gate.wait();
      return kept;
    }));
    gate.open();
    ASSERT_TRUE(eventually([&] { return seen == 9; })) << "in round " << round;
  }
}

}  // namespace
}  // namespace troupe::test
