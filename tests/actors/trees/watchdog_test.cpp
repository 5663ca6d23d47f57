// SPDX-License-Identifier: BSD-3-Clause
#include "trees/children/watchdog.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

const steady_time begin{1h};

TEST(Watchdog, ExpectsNothingBeforeItBegins) {
  watchdog dog{1s};
  EXPECT_FALSE(dog.next_time());
  dog.beat(begin);
  EXPECT_FALSE(dog.next_time());
  EXPECT_FALSE(dog.missed(begin + 1h));
}

TEST(Watchdog, TellsOnceThatTheTimeIsOver) {
  watchdog dog{1s};
  dog.begin(begin);
  EXPECT_FALSE(dog.missed(begin + 999ms));
  EXPECT_TRUE(dog.missed(begin + 1s));
  EXPECT_FALSE(dog.missed(begin + 2s));
  EXPECT_FALSE(dog.next_time());
}

TEST(Watchdog, EachSignOfLifeBeginsTheTimeAnew) {
  watchdog dog{1s};
  dog.begin(begin);
  for (auto at = begin + 900ms; at < begin + 10s; at += 900ms) {
    EXPECT_FALSE(dog.missed(at));
    dog.beat(at);
  }
}

TEST(Watchdog, LooksSeveralTimesWithinItsLimit) {
  watchdog dog{1s};
  dog.begin(begin);
  EXPECT_EQ(dog.next_time(), begin + 250ms);
  EXPECT_FALSE(dog.missed(begin + 250ms));
  EXPECT_EQ(dog.next_time(), begin + 500ms);
  EXPECT_FALSE(dog.missed(begin + 900ms));
  EXPECT_EQ(dog.next_time(), begin + 1s) << "and not later than the limit";
}

TEST(Watchdog, WhatHasEndedExpectsNothing) {
  watchdog dog{1s};
  dog.begin(begin);
  dog.end();
  EXPECT_FALSE(dog.missed(begin + 1h));
}

}  // namespace
}  // namespace troupe::detail
