// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/policy.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace troupe {
namespace {

using namespace std::chrono_literals;

/// A clock that only moves when told.
struct fake_clock {
  steady_time now = steady_time{} + 1000h;
  void advance(std::chrono::nanoseconds by) { now += by; }
};

TEST(RestartPolicy, AllowsExactlyTheIntensityWithinThePeriod) {
  const restart_policy policy{.intensity = 3, .period = 10s};
  restart_history history;
  fake_clock clock;
  for (int death = 1; death <= 3; ++death) {
    history.record_death(clock.now);
    EXPECT_FALSE(decide(policy, history, clock.now).give_up) << "death " << death;
    clock.advance(1s);
  }
  history.record_death(clock.now);
  EXPECT_TRUE(decide(policy, history, clock.now).give_up);
}

TEST(RestartPolicy, ForgetsDeathsThatAreOlderThanThePeriod) {
  const restart_policy policy{.intensity = 1, .period = 10s};
  restart_history history;
  fake_clock clock;
  for (int i = 0; i < 100; ++i) {
    history.record_death(clock.now);
    EXPECT_FALSE(decide(policy, history, clock.now).give_up) << "death " << i;
    clock.advance(10s + 1ns);
  }
  EXPECT_EQ(history.recent_deaths(10s, clock.now), 0);
}

TEST(RestartPolicy, ADeathExactlyAPeriodAgoStillCounts) {
  restart_history history;
  fake_clock clock;
  history.record_death(clock.now);
  clock.advance(10s);
  EXPECT_EQ(history.recent_deaths(10s, clock.now), 1);
  clock.advance(1ns);
  EXPECT_EQ(history.recent_deaths(10s, clock.now), 0);
}

TEST(RestartPolicy, AnIntensityOfZeroGivesUpAtTheFirstDeath) {
  const restart_policy policy{.intensity = 0};
  restart_history history;
  fake_clock clock;
  EXPECT_FALSE(decide(policy, history, clock.now).give_up);
  history.record_death(clock.now);
  EXPECT_TRUE(decide(policy, history, clock.now).give_up);
}

TEST(RestartPolicy, GivesUpAfterTooManyFailedStartsInARow) {
  const restart_policy policy{.start_attempts = 3};
  restart_history history;
  fake_clock clock;
  history.record_failed_start();
  EXPECT_FALSE(decide(policy, history, clock.now).give_up);
  history.record_failed_start();
  EXPECT_FALSE(decide(policy, history, clock.now).give_up);
  history.record_start();  // one that worked: the row is broken
  history.record_failed_start();
  history.record_failed_start();
  EXPECT_FALSE(decide(policy, history, clock.now).give_up);
  history.record_failed_start();
  EXPECT_TRUE(decide(policy, history, clock.now).give_up);
}

TEST(RestartPolicy, FailedStartsWaitLongerAndLongerUpToTheMost) {
  const restart_policy policy{.start_attempts = 100, .backoff = 10ms, .max_backoff = 65ms};
  restart_history history;
  fake_clock clock;
  const std::chrono::milliseconds expected[] = {0ms, 10ms, 20ms, 40ms, 65ms, 65ms};
  for (const auto delay : expected) {
    history.record_failed_start();
    EXPECT_EQ(decide(policy, history, clock.now).delay, delay);
  }
  for (int i = 0; i < 80; ++i) {
    history.record_failed_start();
    EXPECT_EQ(decide(policy, history, clock.now).delay, 65ms) << "after many more: no overflow";
  }
}

TEST(RestartPolicy, ADeathOfAWorkerThatHadStartedIsReplacedAtOnce) {
  restart_history history;
  fake_clock clock;
  history.record_start();
  history.record_death(clock.now);
  const restart_decision decision = decide({}, history, clock.now);
  EXPECT_FALSE(decision.give_up);
  EXPECT_EQ(decision.delay, 0ms);
}

TEST(RetryDelay, DoublesUpToAMinute) {
  EXPECT_EQ(retry_delay(1s, 0), 1s);
  EXPECT_EQ(retry_delay(1s, 1), 1s);
  EXPECT_EQ(retry_delay(1s, 2), 2s);
  EXPECT_EQ(retry_delay(1s, 3), 4s);
  EXPECT_EQ(retry_delay(1s, 6), 32s);
  EXPECT_EQ(retry_delay(1s, 7), 60s);
  EXPECT_EQ(retry_delay(2h, 1), 60s);
  EXPECT_EQ(retry_delay(0ms, 100), 0ms) << "no backoff was asked for";
}

TEST(RetryDelay, DoesNotOverflow) {
  EXPECT_EQ(retry_delay(1ms, std::numeric_limits<std::uint32_t>::max()), 60s);
  EXPECT_EQ(retry_delay(std::chrono::milliseconds::max(), 5), 60s);
}

TEST(DispatchPolicy, TheWindowIsAMillisecondOfWorkAndNothingWaitsBehindALongTask) {
  EXPECT_EQ(window_for(0ns, false), 1U) << "nothing is known";
  EXPECT_EQ(window_for(1h, true), 1U);
  EXPECT_EQ(window_for(1ms, true), 2U);
  EXPECT_EQ(window_for(1ms + 1ns, true), 1U);
  EXPECT_EQ(window_for(100us, true), 11U);
  EXPECT_EQ(window_for(1us, true), 1001U);
  EXPECT_EQ(window_for(1ns, true), 2048U);
  EXPECT_EQ(window_for(0ns, true), 2048U);
  EXPECT_EQ(window_for(-5ns, true), 2048U);
  EXPECT_EQ(window_for(std::chrono::nanoseconds::max(), true), 1U);
}

TEST(DispatchPolicy, ChunksGrowFourfoldUpToTwoHundredMicroseconds) {
  EXPECT_EQ(chunk_for(1us, false, 100), 1U) << "nothing is known";
  EXPECT_EQ(chunk_for(1us, true, 1), 4U);
  EXPECT_EQ(chunk_for(1us, true, 4), 16U);
  EXPECT_EQ(chunk_for(1us, true, 64), 200U);
  EXPECT_EQ(chunk_for(1us, true, 200), 200U);
  EXPECT_EQ(chunk_for(1ns, true, 100'000), 4096U);
  EXPECT_EQ(chunk_for(1s, true, 4096), 1U);
  EXPECT_EQ(chunk_for(0ns, true, 0), 1U) << "no division by nothing";
}

}  // namespace
}  // namespace troupe
