// SPDX-License-Identifier: BSD-3-Clause
#include "scheduling/restart_budget.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <vector>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

struct one_child {
  explicit one_child(const restart_limits& limits, std::uint64_t seed = 1) : budget{limits, seed} {}
  restart_verdict end(charge what, std::chrono::nanoseconds ran = 0ns) {
    return budget.on_end(row, what, ran, now);
  }
  restart_verdict fail(charge what = charge::counts) {
    return budget.on_failed_start(row, what, now);
  }
  restart_budget budget;
  restart_row row{};
  steady_time now = steady_time{} + 1000h;
};

restart_limits without_jitter() {
  return {
      .intensity = 1000, .backoff = 10ms, .max_backoff = 100ms, .jitter = 0, .stable_after = 1s};
}

TEST(RestartBudget, ThePeriodSlides) {
  one_child child{{.intensity = 2, .period = 10s}};
  EXPECT_FALSE(child.end(charge::counts).give_up());
  child.now += 5s;
  EXPECT_FALSE(child.end(charge::counts).give_up());
  child.now += 5s + 1ns;
  EXPECT_FALSE(child.end(charge::counts).give_up()) << "the first is too old";
  EXPECT_EQ(child.budget.counted(child.now), 2);
  EXPECT_EQ(child.end(charge::counts).why, exhausted::intensity);
}

TEST(RestartBudget, AnIntensityOfZeroGivesUpAtTheFirstEnd) {
  one_child child{{.intensity = 0}};
  EXPECT_EQ(child.end(charge::counts).why, exhausted::intensity);
}

TEST(RestartBudget, AnEndExactlyAPeriodAgoStillCounts) {
  one_child child{{.intensity = 1, .period = 10s}};
  (void)child.end(charge::counts);
  child.now += 10s;
  EXPECT_TRUE(child.end(charge::counts).give_up());
}

TEST(RestartBudget, TheLongestTimesThereAreDoNotOverflow) {
  constexpr auto longest = std::chrono::milliseconds::max();
  one_child child{{.intensity = 1,
                   .period = longest,
                   .backoff = longest,
                   .max_backoff = longest,
                   .jitter = 1,
                   .stable_after = longest}};
  EXPECT_FALSE(child.end(charge::counts, 1h).give_up());
  child.now += 24h;
  const restart_verdict verdict = child.end(charge::counts, 1h);
  EXPECT_TRUE(verdict.give_up());
  EXPECT_GE(verdict.delay, 0ms);
}

TEST(RestartBudget, TheFirstRestartIsAtOnceThenTheBackoffDoubles) {
  one_child child{without_jitter()};
  std::vector<std::chrono::milliseconds> waits;
  for (int i = 0; i < 7; ++i) {
    waits.push_back(child.end(charge::counts).delay);
  }
  EXPECT_EQ(waits,
            (std::vector<std::chrono::milliseconds>{0ms, 10ms, 20ms, 40ms, 80ms, 100ms, 100ms}));
}

TEST(RestartBudget, AStableRunBeginsTheBackoffAnew) {
  one_child child{without_jitter()};
  (void)child.end(charge::counts);
  (void)child.end(charge::counts);
  EXPECT_EQ(child.end(charge::counts, 1s - 1ns).delay, 20ms);
  EXPECT_EQ(child.end(charge::counts, 1s).delay, 0ms);
}

TEST(RestartBudget, AForgivenEndWaitsAndDoesNotCount) {
  one_child child{without_jitter()};
  EXPECT_EQ(child.end(charge::forgiven).delay, 10ms);
  EXPECT_EQ(child.end(charge::forgiven).delay, 20ms);
  EXPECT_EQ(child.budget.counted(child.now), 0);
  EXPECT_EQ(child.row.forgiven, 2);
}

TEST(RestartBudget, AFreeEndNeitherWaitsNorCounts) {
  one_child child{without_jitter()};
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(child.end(charge::free).delay, 0ms);
    EXPECT_EQ(child.fail(charge::free).delay, 0ms);
  }
  EXPECT_EQ(child.row, restart_row{});
}

TEST(RestartBudget, OneThatCountsBreaksTheRowOfForgiven) {
  one_child child{without_jitter()};
  for (int i = 0; i < 9; ++i) {
    (void)child.end(charge::forgiven);
  }
  (void)child.end(charge::counts);
  for (int i = 0; i < 9; ++i) {
    EXPECT_FALSE(child.end(charge::forgiven).give_up());
  }
  EXPECT_EQ(child.fail(charge::forgiven).why, exhausted::forgiven) << "failed starts, too";
}

TEST(RestartBudget, FailedStartsInARowAreLimited) {
  one_child child{without_jitter()};  // 3 attempts
  EXPECT_EQ(child.fail().delay, 0ms);
  EXPECT_EQ(child.fail().delay, 10ms);
  child.budget.on_ready(child.row);
  EXPECT_FALSE(child.fail().give_up());
  EXPECT_FALSE(child.fail().give_up());
  EXPECT_EQ(child.fail().why, exhausted::start_attempts);
}

TEST(RestartBudget, JitterMakesWaitsShorterByItsPartAtMostAndIsRepeatable) {
  restart_limits limits = without_jitter();
  limits.backoff = limits.max_backoff = 1000ms;
  limits.jitter = 0.25;
  one_child a{limits, 7};
  one_child b{limits, 7};
  one_child other{limits, 8};
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    a.row = b.row = other.row = {};
    const auto wait = a.end(charge::forgiven).delay;
    EXPECT_GE(wait, 750ms);
    EXPECT_LE(wait, 1000ms);
    EXPECT_EQ(wait, b.end(charge::forgiven).delay);
    differs = differs || wait != other.end(charge::forgiven).delay;
  }
  EXPECT_TRUE(differs);
}

TEST(RestartBudget, ForeverIsOnlyLimitedByTheBackoff) {
  restart_limits limits = restart_forever(30s);
  limits.jitter = 0;
  limits.intensity = 2;
  one_child child{limits};
  std::chrono::milliseconds last{};
  for (int i = 0; i < 1000; ++i) {
    const restart_verdict verdict = child.end(i % 2 == 0 ? charge::counts : charge::forgiven);
    EXPECT_FALSE(verdict.give_up());
    last = verdict.delay;
  }
  EXPECT_EQ(last, 30s);
  EXPECT_LE(child.budget.counted(child.now), 2) << "no more times are kept than the limit needs";
}

}  // namespace
}  // namespace troupe::detail
