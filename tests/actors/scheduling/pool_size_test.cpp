// SPDX-License-Identifier: BSD-3-Clause
#include "scheduling/pool_size.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;
using change = pool_size::change;

TEST(PoolSize, AFixedPoolNeitherGrowsNorShrinks) {
  const pool_size size{3, 3};
  EXPECT_EQ(size.wanted(), 3);
  EXPECT_FALSE(size.may_grow());
  EXPECT_FALSE(size.may_shrink());
}

TEST(PoolSize, AnElasticPoolBeginsWithItsLeast) {
  const pool_size size{1, 8};
  EXPECT_EQ(size.wanted(), 1);
  EXPECT_TRUE(size.may_grow());
  EXPECT_FALSE(size.may_shrink());
}

TEST(PoolSize, GrowsByWhatWaitsButAtMostDoubles) {
  pool_size size{1, 20};
  size.grow(1000);
  EXPECT_EQ(size.target(), 2);
  size.grow(1000);
  EXPECT_EQ(size.target(), 4);
  size.grow(1);
  EXPECT_EQ(size.target(), 5);
  size.grow(1000);
  size.grow(1000);
  size.grow(1000);
  EXPECT_EQ(size.target(), 20) << "never more than its most";
  EXPECT_FALSE(size.may_grow());
}

TEST(PoolSize, FromNoWorkerItGrowsToOne) {
  pool_size size{0, 4};
  size.grow(10);
  EXPECT_EQ(size.target(), 1);
}

TEST(PoolSize, ShrinksByOneDownToItsLeast) {
  pool_size size{1, 4};
  size.grow(4);
  size.grow(4);
  ASSERT_EQ(size.target(), 4);
  while (size.may_shrink()) {
    size.shrink();
  }
  EXPECT_EQ(size.target(), 1);
}

TEST(PoolSize, ResizingMakesItFixed) {
  pool_size size{1, 4};
  size.set(2);
  EXPECT_FALSE(size.elastic());
  EXPECT_EQ(size.wanted(), 2);
  EXPECT_EQ(size.surplus(5), 3);
  EXPECT_EQ(size.surplus(1), 0);
}

TEST(PoolSize, StartsOneMoreForEachParentWhileTasksWait) {
  pool_size size{2, 2};
  size.add_parent(0);
  EXPECT_EQ(size.compensate(true, true, true), change::none) << "another worker has room";
  EXPECT_EQ(size.compensate(true, false, true), change::more);
  EXPECT_EQ(size.wanted(), 3);
  EXPECT_EQ(size.compensate(true, false, true), change::none);
  EXPECT_EQ(size.compensate(false, false, false), change::none) << "it is kept for the parent";
  size.remove_parent(0);
  EXPECT_EQ(size.compensate(false, true, false), change::fewer);
  EXPECT_EQ(size.wanted(), 2);
}

// One was started, and let go, for nearly every parent.
TEST(PoolSize, ExtraWorkersStayWhileParentsComeAndGo) {
  pool_size size{1, 1};
  for (int i = 0; i < 6; ++i) {
    size.add_parent(0);
  }
  size.compensate(true, false, true);
  ASSERT_EQ(size.wanted(), 1 + 6);
  for (int i = 0; i < 3; ++i) {
    size.remove_parent(0);
  }
  EXPECT_EQ(size.compensate(false, true, false), change::none);
  size.remove_parent(0);
  EXPECT_EQ(size.compensate(false, true, false), change::fewer);
  EXPECT_EQ(size.wanted(), 1 + 4) << "twice as many as there are parents";
  size.remove_parent(0);
  size.remove_parent(0);
  size.compensate(false, true, true);
  EXPECT_EQ(size.wanted(), 1 + 4) << "for what waits and may become a parent";
  size.compensate(false, true, false);
  EXPECT_EQ(size.wanted(), 1);
}

// 64 parents, and 64 children that are parents: none was left for their children.
TEST(PoolSize, OfTheLastExtraWorkersSomeAreKeptForWhatIsNestedDeeper) {
  constexpr int workers = 64;
  pool_size size{workers, workers};
  EXPECT_EQ(size.may_run(), workers);
  std::uint32_t depth = 0;
  for (; !size.too_many_parents(); ++depth) {
    ASSERT_GE(size.may_run(), 1);
    for (int running = size.may_run(); running > 0; --running) {
      size.add_parent(depth);  // all that run become parents
    }
  }
  EXPECT_GE(depth, 6U);
}

TEST(PoolSize, ExtraWorkersAreBounded) {
  pool_size size{2, 2};
  for (int i = 0; i < 2 + max_extra_workers - 1; ++i) {
    size.add_parent(0);
  }
  EXPECT_FALSE(size.too_many_parents());
  size.compensate(true, false, true);
  EXPECT_EQ(size.wanted(), 2 + max_extra_workers);
  size.add_parent(0);
  EXPECT_TRUE(size.too_many_parents());
}

TEST(RecyclingRules, WithoutLimitsNothingIsRecycled) {
  const recycling_rules rules;
  EXPECT_EQ(rules.task_limit(), UINT64_MAX);
  EXPECT_FALSE(rules.looks_at_memory(false, steady_time{} + 1h, steady_time{}));
  EXPECT_FALSE(rules.too_large(UINT64_MAX));
}

TEST(RecyclingRules, MemoryOfABusyWorkerIsNotLookedAtAllTheTime) {
  const recycling_rules rules{{}, 1000};
  const steady_time last = steady_time{} + 1h;
  EXPECT_FALSE(rules.looks_at_memory(true, last + 19ms, last));
  EXPECT_TRUE(rules.looks_at_memory(true, last + 20ms, last));
  EXPECT_TRUE(rules.looks_at_memory(false, last, last));
  EXPECT_FALSE(rules.too_large(1000));
  EXPECT_TRUE(rules.too_large(1001));
}

TEST(RecyclingRules, AReplacementIsThereBeforeTheOldOneGoes) {
  EXPECT_FALSE(may_leave(retirement::age, 1, 2, true));
  EXPECT_TRUE(may_leave(retirement::age, 2, 2, true));
  EXPECT_TRUE(may_leave(retirement::tasks, 0, 2, false)) << "no replacement comes";
  EXPECT_TRUE(may_leave(retirement::surplus, 0, 2, true));
}

TEST(RecyclingRules, TheOneWithTheLeastToDoGoesFirstAndThenTheYoungest) {
  EXPECT_TRUE(goes_before(0, 1, 2, 9));
  EXPECT_FALSE(goes_before(3, 9, 2, 1));
  EXPECT_TRUE(goes_before(2, 9, 2, 1));
}

TEST(PoolSize, WithAsManyParentsAsWorkersOnlyWhatIsNestedDeeperBegins) {
  pool_size size{2, 2};
  size.add_parent(0);
  EXPECT_TRUE(size.may_begin(0)) << "the other worker is left";
  size.add_parent(0);
  EXPECT_FALSE(size.may_begin(0));
  EXPECT_TRUE(size.may_begin(1));
  size.add_parent(1);
  EXPECT_TRUE(size.may_begin(1));
  size.add_parent(3);
  EXPECT_FALSE(size.may_begin(0));
  EXPECT_FALSE(size.may_begin(1)) << "those of 1 and of 3 are two";
  EXPECT_TRUE(size.may_begin(2));
  size.remove_parent(3);
  EXPECT_TRUE(size.may_begin(1));
  EXPECT_FALSE(size.may_begin(0));
  size.remove_parent(1);
  size.remove_parent(0);
  EXPECT_TRUE(size.may_begin(0));
  size.add_parent(0);
  size.set(3);
  EXPECT_TRUE(size.may_begin(0)) << "the pool is larger now";
}

}  // namespace
}  // namespace troupe::detail
