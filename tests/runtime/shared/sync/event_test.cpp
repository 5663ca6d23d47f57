// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/event.hpp"

#include "runtime/shared/crossing_handles.hpp"
#include "runtime/shared/shared_fixture.hpp"

#include <gtest/gtest.h>

#include <signal.h>

#include <chrono>
#include <thread>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::crossed;
using test::forked;

class Event : public test::shared_objects {};

TEST_F(Event, IsSetUntilItIsCleared) {
  event e;
  EXPECT_FALSE(e.is_set());
  e.set();
  e.set();
  EXPECT_TRUE(e.is_set());
  e.wait();
  EXPECT_TRUE(e.wait_for(-1s));
  e.clear();
  e.clear();
  EXPECT_FALSE(e.is_set());
  EXPECT_FALSE(e.wait_for(0s));
}

TEST_F(Event, WaitsAsLongAsItWasToldAndNoShorter) {
  const event e;
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_FALSE(e.wait_for(70ms));
  EXPECT_FALSE(e.wait_until(std::chrono::system_clock::now() + 70ms));
  EXPECT_FALSE(e.wait_until(begun + 200ms));
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 200ms);
}

TEST_F(Event, WakesAllWaitingThreadsInAnyProcess) {
  event e;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([e] { e.wait(); });
  }
  const auto wait = [&] { return e.wait_for(test::eventually_deadline) ? 0 : 1; };
  forked one{wait};
  forked two{wait};
  EXPECT_TRUE(come_to_wait(e, 5));
  e.set();
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(two.wait(), 0);
  threads.clear();
  EXPECT_EQ(info_of(e.id()).waiters, 0U);
}

TEST_F(Event, ASetEndsTheWaitsThatHadBegunAlsoIfItIsClearedAtOnce) {
  event e;
  for (int i = 0; i < 20; ++i) {
    forked waiter{[&] {
      e.wait();
      return 0;
    }};
    ASSERT_TRUE(come_to_wait(e, 1));
    e.set();
    e.clear();
    ASSERT_EQ(waiter.wait(), 0) << i;
  }
}

TEST_F(Event, KilledWaitersHarmNoOtherWaiter) {
  event e;
  for (int i = 0; i < 20; ++i) {
    forked victim{[&] {
      e.wait();
      return 0;
    }};
    forked survivor{[&] {
      e.wait();
      return 0;
    }};
    ASSERT_TRUE(come_to_wait(e, 2)) << i;
    victim.signal(SIGKILL);
    e.set();
    ASSERT_EQ(survivor.wait(), 0) << i;
    e.clear();
  }
}

TEST_F(Event, PingsAndPongsBetweenProcesses) {
  event ping;
  event pong;
  forked other{[&] {
    for (int i = 0; i < 300; ++i) {
      ping.wait();
      ping.clear();
      pong.set();
    }
    return 0;
  }};
  for (int i = 0; i < 300; ++i) {
    ping.set();
    pong.wait();
    pong.clear();
  }
  EXPECT_EQ(other.wait(), 0);
}

TEST_F(Event, Crosses) {
  event e;
  const event arrived = crossed(e);
  e.set();
  EXPECT_TRUE(arrived.is_set());
  EXPECT_EQ(arrived, e);
}

}  // namespace
}  // namespace troupe
