// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/policy.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>

namespace troupe {
namespace {

using namespace std::chrono_literals;

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
