// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_reliefs.hpp"

#include "actors/pools/thread/waiting_task.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace troupe::detail {
namespace {

using step = thread_reliefs::step;

class ThreadReliefs : public ::testing::Test {
 protected:
  std::shared_ptr<thread_submission> need(const task_options& how = {}) {
    auto one = pool_.make(how);
    queue_.push_new(one, workers_);
    reliefs_.need(one);
    return one;
  }
  thread_reliefs::decision decide() { return reliefs_.decide(workers_, queue_, looked_at_); }
  std::shared_ptr<thread_submission> find(const worker_seat* by) {
    return reliefs_.find(by, workers_, queue_, looked_at_);
  }

  pool_without_threads pool_;
  worker_table workers_;
  worker_seat& first_ = workers_.add();
  worker_seat& second_ = workers_.add();
  queue_count count_;
  thread_queue queue_{count_};
  thread_reliefs reliefs_;
  released_submissions looked_at_;
};

TEST_F(ThreadReliefs, NoneIsStartedWhileAWorkerTakesTasks) {
  need();
  first_.blocked = true;
  EXPECT_EQ(decide().what, step::none);
  second_.blocked = true;
  EXPECT_EQ(decide().what, step::start);
}

TEST_F(ThreadReliefs, NoneIsStartedForWhatNobodyNeeds) {
  queue_.push_new(pool_.make(), workers_);
  first_.blocked = second_.blocked = true;
  EXPECT_EQ(decide().what, step::none);
}

TEST_F(ThreadReliefs, NoneIsStartedForWhatHasBegun) {
  const auto one = need();
  first_.blocked = second_.blocked = true;
  one->claim();
  EXPECT_EQ(decide().what, step::none);
}

TEST_F(ThreadReliefs, WhatIsBoundToAWorkerNeedsOneWhenThatWorkerWaits) {
  const auto one = need({.affinity = "cat"});
  worker_seat& to = one->bound_to == &first_ ? first_ : second_;
  EXPECT_EQ(decide().what, step::none);
  to.blocked = true;
  EXPECT_EQ(decide().what, step::start) << "the other worker may not run it";
}

TEST_F(ThreadReliefs, OneThatIsThereIsCalledBeforeAnotherIsStarted) {
  need();
  first_.blocked = second_.blocked = true;
  worker_seat& relief = workers_.add(true);
  EXPECT_EQ(decide().what, step::call);
  EXPECT_EQ(decide().relief, &relief);
  relief.blocked = true;
  EXPECT_EQ(decide().what, step::start);
}

TEST_F(ThreadReliefs, ThereAreAtMostSixtyFour) {
  need();
  first_.blocked = second_.blocked = true;
  for (int i = 0; i < 64; ++i) {
    EXPECT_TRUE(reliefs_.may_come(workers_));
    EXPECT_EQ(decide().what, step::start);
    workers_.add(true).blocked = true;
  }
  EXPECT_FALSE(reliefs_.may_come(workers_));
  EXPECT_EQ(decide().what, step::refuse) << "workers that wait look anew";
}

TEST_F(ThreadReliefs, AfterAThreadWasRefusedOthersAreTried) {
  need();
  first_.blocked = second_.blocked = true;
  EXPECT_TRUE(reliefs_.was_refused()) << "the first is told";
  EXPECT_FALSE(reliefs_.was_refused());
  EXPECT_FALSE(reliefs_.may_come(workers_));
  EXPECT_EQ(decide().what, step::start);
  reliefs_.has_come();
  EXPECT_TRUE(reliefs_.may_come(workers_));
  EXPECT_TRUE(reliefs_.was_refused());
}

TEST_F(ThreadReliefs, AfterAnInitializerThrewNoneIsTried) {
  need();
  first_.blocked = second_.blocked = true;
  EXPECT_TRUE(reliefs_.has_failed());
  EXPECT_FALSE(reliefs_.may_come(workers_));
  EXPECT_EQ(decide().what, step::refuse);
}

TEST_F(ThreadReliefs, AWorkerThatWaitsFindsWhatNoOtherTakes) {
  const auto one = need();
  EXPECT_EQ(find(&first_), nullptr) << "the other worker takes it";
  second_.blocked = true;
  EXPECT_EQ(find(&first_), one);
}

TEST_F(ThreadReliefs, OnlyAReliefRunsWhatIsBoundToAWorkerThatWaits) {
  const auto one = need({.affinity = "cat"});
  worker_seat& to = one->bound_to == &first_ ? first_ : second_;
  worker_seat& other = &to == &first_ ? second_ : first_;
  to.blocked = true;
  EXPECT_EQ(find(&other), nullptr);
  EXPECT_EQ(find(&to), one);
  EXPECT_EQ(find(&workers_.add(true)), one);
}

}  // namespace
}  // namespace troupe::detail
