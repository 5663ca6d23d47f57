// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/progress_bar.hpp"

#include "support/no_leaks.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <string>

namespace troupe::test {
namespace {

using namespace std::chrono_literals;
using detail::progress_line;

TEST(ProgressLine, TellsCountRateTimeAndWorkers) {
  const pool_stats half{.submitted = 100, .succeeded = 50, .workers = 4};
  EXPECT_EQ(progress_line(half, {.label = "files"}, 5s, 60),
            "files  [#####.....]  50/100  50%  10/s  0:05 left  4 workers");
  EXPECT_EQ(progress_line(half, {}, 5s, 200).substr(0, 44),
            "[####################....................]  ");
}

TEST(ProgressLine, WithoutRoomForABarShowsTheFacts) {
  const pool_stats half{.submitted = 100, .succeeded = 50, .workers = 1};
  EXPECT_EQ(progress_line(half, {}, 5s, 40), "50/100  50%  10/s  0:05 left  1 worker");
  EXPECT_EQ(progress_line(half, {}, 5s, 6), "50/100");
  EXPECT_EQ(progress_line(half, {}, 5s, 0).size(), 1U);
}

TEST(ProgressLine, NothingYetAndNothingAtAll) {
  EXPECT_EQ(progress_line({.submitted = 10}, {}, 0s, 40), "0/10  0%  0/s  0:00  0 workers");
  EXPECT_EQ(progress_line({}, {}, 0s, 30), "0/0  0/s  0:00  0 workers");
}

TEST(ProgressLine, WhatWentWrongIsCounted) {
  const pool_stats bad{.submitted = 10,
                       .succeeded = 5,
                       .failed = 2,
                       .cancelled = 3,
                       .retried = 4,
                       .workers = 2,
                       .deaths = 1};
  EXPECT_EQ(progress_line(bad, {}, 10s, 1), "1");
  EXPECT_NE(progress_line(bad, {}, 10s, 300).find("2 failed  3 cancelled  4 retried  1 death"),
            std::string::npos);
}

TEST(ProgressLine, AGivenTotalIsUsedUntilItIsPassed) {
  EXPECT_EQ(progress_line({.submitted = 10, .succeeded = 10, .workers = 1}, {.total = 1000}, 1s, 60)
                .substr(0, 12),
            "[...........");
  EXPECT_NE(progress_line({.succeeded = 12}, {.total = 10}, 1s, 300).find("12/12  100%"),
            std::string::npos);
}

TEST(ProgressLine, LargeRatesAndLongTimesAreShort) {
  EXPECT_NE(progress_line({.submitted = 20'000'000, .succeeded = 2'500'000}, {}, 1s, 300)
                .find("2.5M/s  0:07 left"),
            std::string::npos);
  EXPECT_NE(progress_line({.submitted = 7203, .succeeded = 1}, {}, 1s, 300).find("2:00:02 left"),
            std::string::npos);
}

struct ProgressBar : no_leaks {};

TEST_F(ProgressBar, ElsewhereThanOnATerminalTheLastStateIsOnePlainLine) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  pool_stats now{.submitted = 7, .succeeded = 5, .workers = 1};  // before the bar: not shown
  {
    const progress_bar bar{std::function<pool_stats()>{[&] { return now; }},
                           {.label = "x", .interval = 1h, .descriptor = ends[1]}};
    now.submitted += 2;
    now.succeeded += 2;
  }
  ::close(ends[1]);
  std::string text(1000, '\0');
  text.resize(static_cast<std::size_t>(::read(ends[0], text.data(), text.size())));
  ::close(ends[0]);
  EXPECT_EQ(text.substr(0, 3), "x  ");
  EXPECT_NE(text.find("]  2/2  100%"), std::string::npos) << text;
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

}  // namespace
}  // namespace troupe::test
