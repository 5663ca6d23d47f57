// SPDX-License-Identifier: BSD-3-Clause
#include "scheduling/limits.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

struct Limits : testing::Test {
 protected:
  struct task {};
  using tested = limits<task>;
  using step = tested::step;

  static steady_time at(std::chrono::milliseconds since_start) {
    return steady_time{} + 1h + since_start;
  }
  static std::shared_ptr<task> make() { return std::make_shared<task>(); }
  /// What is reached by then.
  std::vector<step> reached(steady_time now) {
    std::vector<step> found;
    while (const auto due = limits_.take(now)) {
      found.push_back(due->what);
    }
    return found;
  }

  tested limits_;
  const std::shared_ptr<task> task_ = make();
};

TEST_F(Limits, NothingIsDueBeforeItsTime) {
  EXPECT_EQ(limits_.next(), std::nullopt);
  limits_.begin_attempt(task_, 0, 1, at(0ms), 10ms, 5ms);
  EXPECT_EQ(limits_.next(), at(10ms));
  EXPECT_FALSE(limits_.take(at(9ms)));
}

TEST_F(Limits, ATimeoutAsksToStopAndAfterTheGraceTimeEndsTheAttempt) {
  limits_.begin_attempt(task_, 3, 2, at(0ms), 10ms, 5ms);
  const auto asks = limits_.take(at(12ms));
  ASSERT_TRUE(asks);
  EXPECT_EQ(asks->what, step::ask_to_stop);
  EXPECT_EQ(asks->task, task_);
  EXPECT_EQ(asks->item, 3U);
  EXPECT_EQ(asks->attempt, 2U);
  EXPECT_EQ(limits_.next(), at(17ms)) << "the grace time counts from when the task was asked";
  const auto ends = limits_.take(at(17ms));
  ASSERT_TRUE(ends);
  EXPECT_EQ(ends->what, step::time_out);
  EXPECT_EQ(ends->attempt, 2U);
  EXPECT_EQ(limits_.size(), 0U);
}

TEST_F(Limits, AnAttemptThatEndsHasNoLimitAnyMore) {
  limits_.begin_attempt(task_, 0, 1, at(0ms), 10ms, 5ms);
  EXPECT_EQ(limits_.end_attempt(*task_, 0, 1), task_);
  EXPECT_EQ(limits_.next(), std::nullopt);
  limits_.begin_attempt(task_, 0, 1, at(0ms), 10ms, 5ms);
  EXPECT_EQ(reached(at(10ms)), std::vector{step::ask_to_stop});
  EXPECT_EQ(limits_.end_attempt(*task_, 0, 1), task_) << "it ended within the grace time";
  EXPECT_EQ(limits_.next(), std::nullopt);
}

TEST_F(Limits, TheEndOfAnAttemptLeavesTheNextOneItsLimit) {
  limits_.begin_attempt(task_, 0, 2, at(0ms), 10ms, 5ms);
  EXPECT_EQ(limits_.end_attempt(*task_, 0, 1), nullptr);
  EXPECT_EQ(limits_.next(), at(10ms));
}

TEST_F(Limits, ItemsOfATaskHaveLimitsOfTheirOwn) {
  limits_.begin_attempt(task_, 0, 1, at(0ms), 10ms, 5ms);
  limits_.begin_attempt(task_, 1, 1, at(1ms), 10ms, 5ms);
  limits_.end_attempt(*task_, 0, 1);
  EXPECT_EQ(limits_.next(), at(11ms));
}

TEST_F(Limits, AnAttemptLimitedToVeryLongIsNotLimited) {
  limits_.begin_attempt(task_, 0, 1, at(0ms), std::chrono::milliseconds::max(), 5ms);
  EXPECT_EQ(limits_.next(), std::nullopt);
}

TEST_F(Limits, ADeadlineIsFollowedByTheEndOfTheGraceTime) {
  limits_.set_deadline(task_, at(10ms), 5ms);
  EXPECT_EQ(reached(at(10ms)), std::vector{step::overdue});
  EXPECT_EQ(reached(at(14ms)), std::vector<step>{});
  EXPECT_EQ(reached(at(15ms)), std::vector{step::give_up});
}

TEST_F(Limits, ATaskThatIsDoneHasNoDeadlineWhicheverStepWasReached) {
  limits_.set_deadline(task_, at(10ms), 5ms);
  EXPECT_EQ(limits_.end_deadline(*task_), task_);
  EXPECT_EQ(limits_.next(), std::nullopt);
  limits_.set_deadline(task_, at(10ms), 5ms);
  EXPECT_EQ(reached(at(10ms)), std::vector{step::overdue});
  EXPECT_EQ(limits_.end_deadline(*task_), task_);
  EXPECT_EQ(limits_.next(), std::nullopt);
  EXPECT_EQ(limits_.end_deadline(*task_), nullptr);
}

TEST_F(Limits, OfSeveralForcedCancelsTheEarliestCounts) {
  limits_.give_up_at(task_, at(10ms));
  limits_.give_up_at(task_, at(20ms));
  limits_.give_up_at(task_, at(5ms));
  EXPECT_EQ(limits_.next(), at(5ms));
  EXPECT_EQ(reached(at(30ms)), std::vector{step::give_up}) << "once";
}

TEST_F(Limits, ReachesWhatIsEarliestFirstAndAmongEqualsWhatWasSetFirst) {
  const auto other = make();
  limits_.set_deadline(task_, at(30ms), 1h);
  limits_.try_again_at(other, 7, at(10ms));
  limits_.let_idle_go_at(at(10ms));
  EXPECT_EQ(reached(at(30ms)), (std::vector{step::try_again, step::let_idle_go, step::overdue}));
}

TEST_F(Limits, ATaskThatIsForgottenHasNoLimitOfAnyKind) {
  const auto other = make();
  limits_.begin_attempt(task_, 0, 1, at(0ms), 10ms, 5ms);
  limits_.begin_attempt(task_, 7, 1, at(0ms), 10ms, 5ms);
  limits_.give_up_at(task_, at(10ms));
  limits_.set_deadline(other, at(20ms), 5ms);
  limits_.forget(*task_);
  EXPECT_EQ(limits_.size(), 1U);
  EXPECT_EQ(limits_.next(), at(20ms));
}

TEST_F(Limits, KeepsATaskUntilItsLastLimitIsGone) {
  std::weak_ptr<task> seen;
  {
    auto kept = make();
    seen = kept;
    limits_.give_up_at(std::move(kept), at(10ms));
  }
  EXPECT_FALSE(seen.expired());
  EXPECT_EQ(reached(at(10ms)), std::vector{step::give_up});
  EXPECT_TRUE(seen.expired());
}

// Thirty thousand take a fraction of a second; looking through all of them for each took minutes.
TEST_F(Limits, ManyDeadlinesAreFoundByTheirTasks) {
  std::mt19937 random{7};
  std::vector<std::shared_ptr<task>> tasks(30'000);
  for (auto& each : tasks) {
    each = make();
    limits_.set_deadline(each, at(std::chrono::milliseconds{random() % 100}), 1h);
  }
  for (std::size_t i = 0; i < tasks.size(); i += 2) {
    ASSERT_EQ(limits_.end_deadline(*tasks[i]), tasks[i]);
  }
  std::size_t overdue = 0;
  steady_time before{};
  while (const auto next = limits_.next()) {
    ASSERT_GE(*next, before);
    before = *next;
    const auto due = limits_.take(*next);
    ASSERT_TRUE(due);
    overdue += due->what == step::overdue ? 1 : 0;
    limits_.end_deadline(*due->task);
  }
  EXPECT_EQ(overdue, tasks.size() / 2);
}

}  // namespace
}  // namespace troupe::detail
