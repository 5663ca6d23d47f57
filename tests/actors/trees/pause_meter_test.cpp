// SPDX-License-Identifier: BSD-3-Clause
#include "trees/children/pause_meter.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

const steady_time begin{1h};

TEST(PauseMeter, RunsWithTheRealTimeWhileSleepsEndInTime) {
  pause_meter meter;
  meter.woke(begin + 1s, begin + 1s);
  meter.woke(begin + 2s, begin + 1500ms);
  meter.woke(begin + 3s, begin + 3s + pause_meter::slack);
  EXPECT_EQ(meter.program_time(begin + 4s), begin + 4s);
}

TEST(PauseMeter, StandsStillForAsLongAsASleepWasLate) {
  pause_meter meter;
  meter.woke(begin + 1s, begin + 61s);
  EXPECT_EQ(meter.program_time(begin + 61s), begin + 1s);
  EXPECT_EQ(meter.real_time(begin + 2s), begin + 62s);
  meter.woke(begin + 62s, begin + 72s);
  EXPECT_EQ(meter.program_time(begin + 72s), begin + 2s);
  EXPECT_EQ(meter.lost(), 70s);
}

TEST(PauseMeter, ATimeThatNeverComesStaysSo) {
  pause_meter meter;
  meter.woke(begin, begin + 1h);
  EXPECT_EQ(meter.real_time(steady_time::max()), steady_time::max());
}

}  // namespace
}  // namespace troupe::detail
