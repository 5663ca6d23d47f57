// SPDX-License-Identifier: BSD-3-Clause
// Which workers of a pool are replaced when, so that not all are away at the same time.
#include "scheduling/replacement.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace troupe::detail {
namespace {

TEST(Replacement, TheFirstWorkersOfAPoolAreReplacedOneAfterTheOther) {
  EXPECT_EQ(task_limit_of(0, 4, 100), 100U);
  EXPECT_EQ(task_limit_of(1, 4, 100), 75U);
  EXPECT_EQ(task_limit_of(2, 4, 100), 50U);
  EXPECT_EQ(task_limit_of(3, 4, 100), 25U);
  EXPECT_EQ(task_limit_of(4, 4, 100), 100U) << "a successor has the whole limit";
}

TEST(Replacement, NoLimitStaysNone) {
  EXPECT_EQ(task_limit_of(3, 4, UINT64_MAX), UINT64_MAX);
}

TEST(Replacement, EveryWorkerMayRunATask) {
  for (std::uint64_t nth = 0; nth < 10; ++nth) {
    EXPECT_EQ(task_limit_of(nth, 4, 1), 1U) << nth;
  }
  EXPECT_GE(task_limit_of(4095, 4096, 4 * 4096), 1U);
}

TEST(Replacement, ALimitOfFewTasksIsTheSameForAll) {
  EXPECT_EQ(task_limit_of(1, 2, 3), 3U);
  EXPECT_EQ(task_limit_of(1, 2, 7), 7U);
  EXPECT_EQ(task_limit_of(1, 2, 8), 4U);
}

TEST(Replacement, AnOldWorkerWorksUntilItsSuccessorIsReady) {
  EXPECT_TRUE(works_until_replaced(retirement::age));
  EXPECT_EQ(may_be_let_go(2, 2), 0);
  EXPECT_EQ(may_be_let_go(3, 2), 1);
  EXPECT_EQ(may_be_let_go(1, 2), 0);
}

TEST(Replacement, NoMoreWaitForSuccessorsThanStart) {
  EXPECT_EQ(may_leave_early(3, 3), 0);
  EXPECT_EQ(may_leave_early(5, 3), 2);
  EXPECT_EQ(may_leave_early(0, 3), 0);
}

TEST(Replacement, OthersGetNoMoreTasks) {
  EXPECT_FALSE(works_until_replaced(retirement::memory)) << "it would grow on";
  EXPECT_FALSE(works_until_replaced(retirement::tasks)) << "its limit is exact";
  EXPECT_FALSE(works_until_replaced(retirement::surplus)) << "it has no successor";
}

}  // namespace
}  // namespace troupe::detail
