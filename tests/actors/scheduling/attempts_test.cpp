// SPDX-License-Identifier: BSD-3-Clause
#include "scheduling/attempts.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

TEST(AttemptCount, WithoutRetriesThereIsOneAttempt) {
  EXPECT_FALSE(attempt_count{}.may_be_repeated(0));
}

TEST(AttemptCount, ThereAreAsManyFurtherAttemptsAsRetries) {
  attempt_count count;
  EXPECT_TRUE(count.may_be_repeated(2));
  count = count.next();
  EXPECT_TRUE(count.may_be_repeated(2));
  count = count.next();
  EXPECT_EQ(count.number, 3U);
  EXPECT_FALSE(count.may_be_repeated(2));
}

TEST(AttemptCount, AForgivenAttemptCostsNoRetryButNeedsSome) {
  attempt_count count;
  count.forgive();
  EXPECT_EQ(count.charged(), 0U);
  EXPECT_FALSE(count.may_be_repeated(0));
  count = count.next();
  EXPECT_EQ(count.number, 2U);
  EXPECT_TRUE(count.may_be_repeated(1));
  count = count.next();
  EXPECT_FALSE(count.may_be_repeated(1));
}

TEST(AttemptCount, TheBackoffDoublesWithAttemptsThatWereNotForgiven) {
  attempt_count count;
  EXPECT_EQ((count = count.next()).delay(10ms), 10ms);
  EXPECT_EQ((count = count.next()).delay(10ms), 20ms);
  count.forgive();
  EXPECT_EQ((count = count.next()).delay(10ms), 20ms);
  EXPECT_EQ((count = count.next()).delay(10ms), 40ms);
  EXPECT_EQ(attempt_count{}.next().delay(0ms), 0ms);
  EXPECT_EQ((attempt_count{1000, 0}.delay(10ms)), 60s) << "up to a minute";
}

struct Attempts : testing::Test {
 protected:
  struct task {};
  static steady_time at(std::chrono::milliseconds since_start) {
    return steady_time{} + 1h + since_start;
  }
  std::vector<std::string> due(steady_time now) {
    std::vector<std::string> found;
    while (auto one = waiting_.take_due(now)) {
      found.push_back(*one);
    }
    return found;
  }
  attempts<task, std::string> waiting_;
  task task_;
  task other_;
};

TEST_F(Attempts, NothingIsDueBeforeItIsDecided) {
  const auto number = waiting_.add(task_, "a");
  EXPECT_EQ(waiting_.next(), std::nullopt);
  EXPECT_EQ(due(steady_time::max()), std::vector<std::string>{});
  ASSERT_NE(waiting_.find(number), nullptr);
  waiting_.schedule(number, at(5ms));
  EXPECT_EQ(waiting_.next(), at(5ms));
  EXPECT_EQ(due(at(4ms)), std::vector<std::string>{});
  EXPECT_EQ(due(at(5ms)), std::vector<std::string>{"a"});
  EXPECT_TRUE(waiting_.empty());
}

TEST_F(Attempts, TheEarliestComesFirst) {
  const auto late = waiting_.add(task_, "late");
  const auto early = waiting_.add(task_, "early");
  waiting_.schedule(late, at(9ms));
  waiting_.schedule(early, at(1ms));
  EXPECT_EQ(due(at(10ms)), (std::vector<std::string>{"early", "late"}));
}

TEST_F(Attempts, WhatWasTakenIsNotDueAnyMore) {
  const auto number = waiting_.add(task_, "a");
  waiting_.schedule(number, at(5ms));
  EXPECT_EQ(waiting_.take(number), "a");
  EXPECT_EQ(waiting_.take(number), std::nullopt);
  EXPECT_EQ(waiting_.next(), std::nullopt);
  waiting_.schedule(number, at(6ms));
  EXPECT_EQ(waiting_.next(), std::nullopt);
}

TEST_F(Attempts, AreFoundByTheirTask) {
  waiting_.schedule(waiting_.add(task_, "a"), at(1ms));
  waiting_.add(other_, "b");
  waiting_.add(task_, "c");
  EXPECT_EQ(waiting_.take_of(task_), (std::vector<std::string>{"a", "c"}));
  EXPECT_EQ(waiting_.take_of(task_), std::vector<std::string>{});
  EXPECT_EQ(waiting_.size(), 1U);
  EXPECT_EQ(waiting_.next(), std::nullopt);
}

TEST_F(Attempts, AreTakenByWhatTheyAre) {
  waiting_.add(task_, "a");
  waiting_.add(other_, "b");
  EXPECT_EQ(waiting_.take_if([](const std::string& one) { return one == "b"; }),
            std::vector<std::string>{"b"});
  EXPECT_EQ(waiting_.size(), 1U);
}

}  // namespace
}  // namespace troupe::detail
