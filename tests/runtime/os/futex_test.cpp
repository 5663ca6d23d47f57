// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/futex.hpp"

#include "support/forked.hpp"
#include "support/watchdog.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <ratio>
#include <thread>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

TEST(DeadlineAfter, VeryLongMeansForEver) {
  EXPECT_EQ(deadline_after(std::chrono::hours::max()), std::nullopt);
  EXPECT_EQ(deadline_after(std::chrono::milliseconds::max()), std::nullopt);
  EXPECT_EQ(deadline_after(std::chrono::nanoseconds::max()), std::nullopt);
  EXPECT_EQ(deadline_after(std::chrono::duration<double>::max()), std::nullopt);
  EXPECT_EQ(deadline_after(std::chrono::duration<double>{std::numeric_limits<double>::infinity()}),
            std::nullopt);
  EXPECT_EQ(deadline_after(std::chrono::duration<std::int64_t, std::ratio<86400 * 365>>::max()),
            std::nullopt);
}

TEST(DeadlineAfter, VeryNegativeIsInThePast) {
  for (const auto& until :
       {deadline_after(-1ns), deadline_after(-1h), deadline_after(std::chrono::hours::min()),
        deadline_after(std::chrono::milliseconds::min()),
        deadline_after(std::chrono::nanoseconds::min()),
        deadline_after(std::chrono::duration<double>::min())}) {
    ASSERT_TRUE(until.has_value());
    EXPECT_LE(*until, clock::now());
  }
}

TEST(DeadlineAfter, IsNeverEarly) {
  const auto before = clock::now();
  EXPECT_GE(*deadline_after(1us), before + 1us);
  EXPECT_GE(*deadline_after(std::chrono::duration<double, std::nano>{0.5}), before);
  EXPECT_GE(*deadline_after(24h * 365), before + 24h * 365);
}

TEST(Futex, DoesNotSleepOnAnotherValue) {
  const test::watchdog dog{20s, "futex_wait"};
  std::atomic<std::uint32_t> word{1};
  EXPECT_TRUE(futex_wait(word, 0, std::nullopt));
}

TEST(Futex, GivesUpAtTheDeadlineAndNotBefore) {
  const test::watchdog dog{20s, "futex_wait"};
  std::atomic<std::uint32_t> word{0};
  const auto until = clock::now() + 5ms;
  while (futex_wait(word, 0, until)) {
    // It may return early for no reason.
  }
  EXPECT_GE(clock::now(), until);
  EXPECT_FALSE(futex_wait(word, 0, clock::now() - 1h));
  EXPECT_FALSE(futex_wait(word, 0, clock::time_point::min()));
}

TEST(Futex, AWakeUpIsNeverLost) {
  const test::watchdog dog{60s, "two threads that wake each other"};
  for (const bool shared : {false, true}) {
    std::atomic<std::uint32_t> word{0};
    const auto play = [&](std::uint32_t parity) {
      for (std::uint32_t turn = parity; turn < 20'000; turn += 2) {
        for (std::uint32_t now = word.load(); now != turn; now = word.load()) {
          futex_wait(word, now, std::nullopt, shared);
        }
        word.store(turn + 1);
        futex_wake_all(word, shared);
      }
    };
    std::jthread even{play, 0};
    play(1);
    even.join();
    EXPECT_EQ(word.load(), 20'000U);
  }
}

// A byte there would wake a thread that does not exist in the child, or one of the parent's.
TEST(Handover, ForkedChildHasNone) {
  ASSERT_NE(handover::of_this_thread(), nullptr);
  test::forked child{[] { return handover::of_this_thread() == nullptr ? 0 : 1; }};
  EXPECT_EQ(child.wait(), 0);
  EXPECT_NE(handover::of_this_thread(), nullptr);
}

}  // namespace
}  // namespace troupe::detail
