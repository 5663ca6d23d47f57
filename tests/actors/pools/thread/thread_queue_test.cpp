// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_queue.hpp"

#include "actors/pools/thread/waiting_task.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

class ThreadQueue : public ::testing::Test {
 protected:
  std::shared_ptr<thread_submission> push(const task_options& how = {}, std::uint32_t items = 1) {
    auto one = pool_.make(how, items);
    only_ = queue_.push_new(one, workers_);
    return one;
  }
  std::shared_ptr<thread_submission> claim_next(worker_seat& by) {
    claimed_items work;
    return queue_.claim_next(by, work, released_) ? work.submission : nullptr;
  }

  pool_without_threads pool_;
  worker_table workers_;
  worker_seat& first_ = workers_.add();
  worker_seat& second_ = workers_.add();
  queue_count count_;
  thread_queue queue_{count_};
  worker_seat* only_ = nullptr;  // the only worker that may run what was pushed last
  released_submissions released_;
};

TEST_F(ThreadQueue, NumbersAndCountsWhatIsPushedAndClaimed) {
  EXPECT_TRUE(count_.looks_empty());
  const auto one = push({}, 3);
  const auto two = push();
  EXPECT_EQ(one->number, 1U);
  EXPECT_EQ(two->number, 2U);
  EXPECT_EQ(count_.submitted(), 4U);
  EXPECT_EQ(count_.size(), 4U);
  EXPECT_EQ(claim_next(first_), one);
  EXPECT_EQ(count_.size(), 3U) << "a range of one item was claimed";
  count_.left(1);
  EXPECT_EQ(count_.size(), 2U);
  EXPECT_EQ(count_.submitted(), 4U);
}

TEST_F(ThreadQueue, WhatIsBoundToAWorkerIsForThatOneOnly) {
  const auto bound = push({.affinity = "cat"});
  ASSERT_NE(only_, nullptr);
  worker_seat& to = *only_;
  worker_seat& other = &to == &first_ ? second_ : first_;
  EXPECT_TRUE(queue_.lanes_are_empty());
  EXPECT_EQ(count_.size(), 1U);
  EXPECT_EQ(claim_next(other), nullptr);
  EXPECT_EQ(claim_next(to), bound);
}

TEST_F(ThreadQueue, AWorkerRunsTheHighestPriorityOfItsOwnAndOfTheLanes) {
  const auto low = push({.priority = 1, .affinity = "cat"});
  worker_seat& to = *only_;
  const auto high = push({.priority = 2});
  const auto equal = push({.priority = 1});
  EXPECT_EQ(claim_next(to), high);
  EXPECT_EQ(claim_next(to), low) << "of equals what is bound to it goes first";
  EXPECT_EQ(claim_next(to), equal);
  EXPECT_EQ(claim_next(to), nullptr);
}

TEST_F(ThreadQueue, TellsWhatIsMoreUrgentThanARunningTask) {
  EXPECT_FALSE(queue_.overtakes(0, first_));
  push({.priority = 3});
  EXPECT_TRUE(queue_.overtakes(2, first_));
  EXPECT_FALSE(queue_.overtakes(3, first_));
  claim_next(first_);
  claim_next(first_);  // finds nothing, and notes that
  EXPECT_FALSE(queue_.overtakes(2, first_));
  push({.priority = 3, .affinity = "cat"});
  worker_seat& other = only_ == &first_ ? second_ : first_;
  EXPECT_TRUE(queue_.overtakes(2, *only_));
  EXPECT_FALSE(queue_.overtakes(2, other));
}

TEST_F(ThreadQueue, ARetryGoesBeforeAllSubmissionsAndIsNoNewOne) {
  const auto once = push(with_retries());
  EXPECT_EQ(claim_next(first_), once);
  const auto later = push();
  EXPECT_EQ(queue_.push_retry({once, 0, 1, true}, workers_), nullptr);
  EXPECT_EQ(count_.submitted(), 2U);
  EXPECT_EQ(count_.size(), 2U);
  EXPECT_TRUE(queue_.can_begin(*once));
  EXPECT_EQ(claim_next(first_), once);
  EXPECT_FALSE(queue_.can_begin(*once));
  EXPECT_EQ(claim_next(first_), later);
}

TEST_F(ThreadQueue, OneThatIsWantedIsClaimedFromBehindOthers) {
  push();
  const auto wanted = push();
  claimed_items work;
  ASSERT_TRUE(queue_.claim_from(wanted, work));
  EXPECT_EQ(work.submission, wanted);
  EXPECT_EQ(count_.size(), 1U);
  EXPECT_FALSE(queue_.claim_from(wanted, work));
}

TEST_F(ThreadQueue, ItemsThatWereClaimedElsewhereArePassedOverAndReleased) {
  const auto gone = push();
  const auto next = push();
  gone->claim_rest();
  count_.left(1);
  EXPECT_EQ(claim_next(first_), next);
  EXPECT_EQ(released_, released_submissions{gone}) << "destroyed without the lock";
  EXPECT_EQ(count_.size(), 0U);
}

TEST_F(ThreadQueue, WhatASeatHadGoesToAnotherWorker) {
  const auto bound = push({.affinity = "cat"});
  worker_seat& from = *only_;
  from.leaving = true;
  workers_.unbind(from);
  task_lanes::contents waiting;
  from.own.take_all(waiting);
  ASSERT_EQ(waiting.submissions.size(), 1U);
  worker_seat* const to = queue_.push(std::move(waiting.submissions.front()), workers_);
  EXPECT_NE(to, &from);
  EXPECT_EQ(bound->bound_to, to);
  EXPECT_EQ(count_.size(), 1U);
  EXPECT_EQ(bound->number, 1U);
  EXPECT_EQ(claim_next(*to), bound);
}

TEST_F(ThreadQueue, WhatWasCancelledLeavesWhenItIsMostOfWhatWaits) {
  constexpr int many = 1024;
  std::vector<std::shared_ptr<thread_submission>> all;
  for (int i = 0; i < many; ++i) {
    all.push_back(push());
  }
  const auto kept = push();
  for (const auto& each : all) {
    EXPECT_TRUE(released_.empty()) << "swept too early";
    count_.left(each->count() - each->claim_rest());
    queue_.note_cancelled(workers_, released_);
  }
  EXPECT_EQ(released_.size(), all.size());
  EXPECT_EQ(queue_.front(), kept);
}

TEST_F(ThreadQueue, AllThatWaitsIsTakenFromLanesAndSeats) {
  const auto unbound = push({.priority = 5});
  const auto bound = push({.priority = 5, .affinity = "cat"});
  const auto waiting = queue_.take_all(workers_);
  EXPECT_EQ(waiting.submissions, (std::vector<std::shared_ptr<thread_submission>>{unbound, bound}));
  EXPECT_TRUE(queue_.lanes_are_empty());
  EXPECT_FALSE(queue_.overtakes(0, *only_));
}

}  // namespace
}  // namespace troupe::detail
