// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/needed_tasks.hpp"

#include "actors/pools/thread/waiting_task.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace troupe::detail {
namespace {

bool any(const thread_submission&) {
  return true;
}
bool none(const thread_submission&) {
  return false;
}

class NeededTasks : public ::testing::Test {
 protected:
  pool_without_threads pool_;
  needed_tasks needed_;
  released_submissions looked_at_;
};

TEST_F(NeededTasks, ASubmissionIsNotedOnce) {
  const auto one = pool_.make();
  EXPECT_TRUE(needed_.empty());
  EXPECT_TRUE(needed_.add(one));
  EXPECT_FALSE(needed_.add(one));
  EXPECT_FALSE(needed_.empty());
}

TEST_F(NeededTasks, TheFirstThatWasNotedIsFoundAndStays) {
  const auto first = pool_.make();
  const auto second = pool_.make();
  needed_.add(first);
  needed_.add(second);
  EXPECT_EQ(needed_.find(any, any, looked_at_), first);
  EXPECT_EQ(needed_.find(any, any, looked_at_), first) << "nothing of it was claimed";
}

TEST_F(NeededTasks, OfThoseForAnyWorkerOneThatMayBeginAnswersForAll) {
  const auto first = pool_.make();
  needed_.add(first);
  needed_.add(pool_.make());
  int asked = 0;
  const auto count = [&](const thread_submission&) {
    ++asked;
    return false;
  };
  EXPECT_EQ(needed_.find(count, none, looked_at_), nullptr);
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(needed_.find(any, none, looked_at_), first);
}

TEST_F(NeededTasks, OneThatIsBoundIsPassedOverAndKeptIfTheConditionDoesNotHold) {
  const auto first = pool_.make({.affinity = "cat"});
  const auto second = pool_.make({.affinity = "dog"});
  needed_.add(first);
  needed_.add(second);
  const auto is_second = [&](const thread_submission& one) { return &one == second.get(); };
  EXPECT_EQ(needed_.find(none, is_second, looked_at_), second);
  EXPECT_EQ(needed_.find(none, any, looked_at_), first);
}

TEST_F(NeededTasks, WhatHasAnAffinityKeyIsAskedAboutApartAndLast) {
  const auto bound = pool_.make({.affinity = "cat"});
  const auto unbound = pool_.make();
  needed_.add(bound);
  needed_.add(unbound);
  EXPECT_EQ(needed_.find(any, any, looked_at_), unbound);
  EXPECT_EQ(needed_.find(none, any, looked_at_), bound);
  EXPECT_EQ(needed_.find(any, none, looked_at_), unbound);
}

TEST_F(NeededTasks, WhatNoWorkerCanBeginAnyMoreIsForgotten) {
  const auto one = pool_.make();
  needed_.add(one);
  one->claim();
  EXPECT_EQ(needed_.find(any, any, looked_at_), nullptr);
  EXPECT_TRUE(needed_.empty());
}

TEST_F(NeededTasks, WhatMayRunAgainStaysWhenAllOfItIsClaimed) {
  const auto one = pool_.make(with_retries());
  needed_.add(one);
  one->claim();
  EXPECT_EQ(needed_.find(any, any, looked_at_), one);
  EXPECT_FALSE(needed_.empty());
}

TEST_F(NeededTasks, KeepsNoSubmissionAliveButGivesTheLastShareToItsCaller) {
  auto one = pool_.make();
  const std::weak_ptr<thread_submission> watched = one;
  needed_.add(one);
  one->claim();
  EXPECT_EQ(needed_.find(any, any, looked_at_), nullptr);
  one = nullptr;
  EXPECT_FALSE(watched.expired()) << "its destructor is code of the user, and ran under the lock";
  looked_at_.clear();
  EXPECT_TRUE(watched.expired());
}

TEST_F(NeededTasks, WhatIsGoneIsNotAskedAbout) {
  for (int i = 0; i < 16; ++i) {
    needed_.add(pool_.make());
  }
  EXPECT_FALSE(needed_.empty());
  const auto last = pool_.make();
  needed_.add(last);
  int asked = 0;
  const auto count = [&](const thread_submission&) {
    ++asked;
    return false;
  };
  EXPECT_EQ(needed_.find(count, count, looked_at_), nullptr);
  EXPECT_EQ(asked, 1);
}

}  // namespace
}  // namespace troupe::detail
