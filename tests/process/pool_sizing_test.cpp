// SPDX-License-Identifier: BSD-3-Clause
// How many workers a pool has: elastic ones, resize, recycling by age and memory, affinity.
#include "pool_fixture.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

struct PoolSizing : every_start_method {
  [[nodiscard]] pool_options elastic(int least, int most) const {
    pool_options made = options();
    made.min_workers = least;
    made.max_workers = most;
    return made;
  }
};
TROUPE_FOR_EVERY_START_METHOD(PoolSizing);

/// Keeps `bytes` of memory for good.
std::int64_t hold(std::size_t bytes) {
  static std::vector<std::unique_ptr<std::string>> kept;
  kept.push_back(std::make_unique<std::string>(bytes, 'x'));
  return ::getpid();
}

TEST_P(PoolSizing, ResizeStartsAndEndsWorkersAndLosesNoTask) {
  pool p{options(2)};
  p.resize(5);
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 5; }));
  auto results = p.map_async(square, std::views::iota(0, 20'000));
  for (const int size : {1, 4, 2, 6, 1}) {
    p.resize(size);
  }
  EXPECT_EQ(results.get().size(), 20'000U);
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 1; }));
  EXPECT_EQ(p.stats().deaths, 0U);
  EXPECT_EQ(p.apply(square, 3), 9);
  p.close();
  p.join();
}

TEST_P(PoolSizing, ClosedWhileWorkersStartItIsClosedAndNotBroken) {
  for (int i = 0; i < 10; ++i) {
    pool p{options(1)};
    p.resize(8);
    p.close();
    p.join();
    EXPECT_THROW(static_cast<void>(p.apply_async(square, 3)), pool_closed);
    EXPECT_EQ(p.stats().deaths, 0U);
  }
}

TEST_P(PoolSizing, ResizeLetsARunningTaskFinish) {
  pool p{options(3)};
  std::vector<future<int>> running;
  for (int i = 0; i < 3; ++i) {
    running.push_back(p.apply_async(wait_at, file("running"), file("gate")));
  }
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 3; }));
  p.resize(1);
  EXPECT_EQ(p.workers().size(), 1U);
  mark(file("gate"));
  for (auto& f : running) {
    EXPECT_EQ(f.get(), 1);
  }
  EXPECT_TRUE(eventually([&] { return p.stats().retired == 2; }));
}

TEST_P(PoolSizing, ResizeOutOfRangeIsRefused) {
  pool p{options()};
  for (const int size : {0, -1, 4097, 10'000}) {
    EXPECT_THROW(p.resize(size), std::invalid_argument) << size;
  }
  EXPECT_EQ(p.workers().size(), 2U);
  p.close();
  EXPECT_THROW(p.resize(3), pool_closed);
}

TEST_P(PoolSizing, LimitsOfAgeAndMemoryOutOfRangeAreRefused) {
  pool_options bad = options();
  bad.max_worker_age = 0ms;
  EXPECT_THROW(pool{bad}, std::invalid_argument);
  bad = options();
  bad.max_worker_rss = 0;
  EXPECT_THROW(pool{bad}, std::invalid_argument);
}

TEST_P(PoolSizing, AWorkerThatGrewTooLargeIsRecycled) {
  pool_options limited = options(1);
  limited.max_worker_rss = std::uint64_t{512} << 20;
  pool p{limited};
  const std::int64_t first = p.apply(hold, std::size_t{1});
  EXPECT_EQ(p.apply(hold, std::size_t{1}), first);
  EXPECT_EQ(p.apply(hold, std::size_t{600} << 20), first);
  EXPECT_NE(p.apply(hold, std::size_t{1}), first);
  EXPECT_TRUE(eventually([&] { return p.stats().recycled == 1; }));
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(PoolSizing, AWorkerThatIsOldIsRecycledAndItsReplacementComesFirst) {
  pool_options aging = options(1);
  aging.max_worker_age = 20ms;
  pool p{aging};
  const std::int64_t first = p.apply(pid_here);
  EXPECT_TRUE(eventually([&] { return p.apply(pid_here) != first; }));
  EXPECT_TRUE(eventually([&] { return p.stats().recycled >= 2; }));
  EXPECT_EQ(p.stats().deaths, 0U);
  EXPECT_EQ(p.stats().failed, 0U);
}

void wait_unless_first(const std::string& begun, const std::string& gate) {
  mark(begun);
  if (marks(begun) > 1 && !eventually([&] { return marks(gate) > 0; })) {
    throw std::runtime_error{"the test did not open the gate"};
  }
}

TEST_P(PoolSizing, AWorkerThatIsRecycledStaysUntilItsReplacementIsReady) {
  pool_options recycling = options(1);
  recycling.max_tasks_per_worker = 1;
  recycling.initializer = call(wait_unless_first, file("begun"), file("gate"));
  pool p{recycling};
  const auto first = static_cast<pid_t>(p.apply(pid_here));
  ASSERT_TRUE(eventually([&] { return marks(file("begun")) == 2; }));
  EXPECT_EQ(::kill(first, 0), 0) << "it left before its replacement was ready";
  EXPECT_EQ(p.stats().recycled, 0U);
  mark(file("gate"));
  EXPECT_NE(p.apply(pid_here), first);
  EXPECT_TRUE(eventually([&] { return p.stats().recycled >= 1; }));
  EXPECT_TRUE(eventually([&] { return ::kill(first, 0) != 0; }));
}

TEST_P(PoolSizing, AgeDoesNotEndARunningTask) {
  pool_options aging = options(1);
  aging.max_worker_age = 1ms;
  pool p{aging};
  auto f = p.apply_async(wait_at, file("running"), file("gate"));
  EXPECT_TRUE(eventually([&] { return marks(file("running")) > 0 && p.stats().workers == 1; }));
  EXPECT_FALSE(f.ready());
  mark(file("gate"));
  EXPECT_EQ(f.get(), 1);
}

struct PoolAffinity : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(PoolAffinity);

TEST_P(PoolAffinity, AKeyFindsANewWorkerAfterADeath) {
  pool p{options(2)};
  const task_options keyed{.affinity = "k"};
  const std::int64_t first = p.with(keyed).apply(pid_here);
  EXPECT_THROW(p.with(keyed).apply([] { ::raise(SIGKILL); }), worker_lost);
  const std::int64_t second = p.with(keyed).apply(pid_here);
  EXPECT_NE(second, first);
  EXPECT_EQ(p.with(keyed).apply(pid_here), second);
}

TEST_P(PoolAffinity, WhatWaitsForAWorkerThatDiesGoesElsewhere) {
  pool p{options(2)};
  const task_options keyed{.affinity = "k"};
  const std::int64_t pid = p.with(keyed).apply(pid_here);
  auto busy = p.with(keyed).apply_async(wait_at, file("running"), file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  std::vector<future<std::int64_t>> bound;
  for (int i = 0; i < 10; ++i) {
    bound.push_back(p.with(keyed).apply_async(pid_here));
  }
  ::kill(static_cast<pid_t>(pid), SIGKILL);
  EXPECT_THROW(busy.get(), worker_lost);
  std::set<std::int64_t> pids;
  for (auto& f : bound) {
    pids.insert(f.get());
  }
  EXPECT_EQ(pids.size(), 1U);
  EXPECT_EQ(pids.count(pid), 0U);
}

}  // namespace
}  // namespace troupe::test
