// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/semaphore.hpp"

#include "runtime/shared/crossing_handles.hpp"
#include "runtime/shared/shared_fixture.hpp"
#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <limits>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::crossed;
using test::fails_with;
using test::forked;
using test::signpost;

class Semaphore : public test::shared_objects {};
class BoundedSemaphore : public test::shared_objects {};

TEST_F(Semaphore, CountsDownAndUp) {
  semaphore s{2};
  EXPECT_EQ(s.value(), 2);
  s.acquire();
  EXPECT_TRUE(s.try_acquire());
  EXPECT_EQ(s.value(), 0);
  EXPECT_FALSE(s.try_acquire());
  s.release(2);
  EXPECT_EQ(s.value(), 2);
  EXPECT_EQ(semaphore{}.value(), 1);
}

TEST_F(Semaphore, MoreThan240ProcessesCannotHaveIt) {
  semaphore s{1000};
  s.acquire();  // this process is one of them
  signpost have_it;
  std::vector<std::unique_ptr<forked>> all;
  const auto holder = [&]() -> int {
    s.acquire();
    have_it.reached();
    return test::sleep_until_killed();
  };
  for (int i = 0; i < 239; ++i) {
    all.push_back(std::make_unique<forked>(holder));
    have_it.await();
  }
  forked one_more{
      [&] { return fails_with(errc::resource_exhausted, [&] { return s.acquire(), 0; }) ? 7 : 8; }};
  EXPECT_EQ(one_more.wait(), 7);
  EXPECT_EQ(s.value(), 1000 - 240);
  s.release();
  EXPECT_TRUE(s.try_acquire()) << "those that have it go on";
  all.back()->kill();
  all.push_back(std::make_unique<forked>(holder));
  have_it.await();
}

TEST_F(Semaphore, MayGoBeyondItsFirstNumber) {
  semaphore s{0};
  s.release();
  s.release(5);
  EXPECT_EQ(s.value(), 6);
}

TEST_F(Semaphore, RefusesNumbersThatMakeNoSense) {
  EXPECT_THROW(semaphore{-1}, std::invalid_argument);
  EXPECT_THROW(bounded_semaphore{-1}, std::invalid_argument);
  semaphore s{1};
  EXPECT_THROW(s.release(0), std::invalid_argument);
  EXPECT_THROW(s.release(-3), std::invalid_argument);
  EXPECT_THROW(s.release(std::numeric_limits<std::ptrdiff_t>::max()), std::overflow_error);
  EXPECT_EQ(s.value(), 1);
}

TEST_F(Semaphore, WaitsAsLongAsItWasToldAndNoShorter) {
  semaphore s{0};
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_FALSE(s.try_acquire_for(70ms));
  EXPECT_FALSE(s.try_acquire_until(std::chrono::system_clock::now() + 70ms));
  EXPECT_FALSE(s.try_acquire_until(begun + 200ms));
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 200ms);
  EXPECT_FALSE(s.try_acquire_for(-1h));
  s.release();
  EXPECT_TRUE(s.try_acquire_for(-1h)) << "tries once";
  s.release();
  EXPECT_TRUE(s.try_acquire_for(std::chrono::hours::max()));
}

TEST_F(Semaphore, WakesAThreadThatWaitsInAnotherProcess) {
  semaphore s{0};
  forked one{[&] {
    s.acquire();
    return 0;
  }};
  forked two{[&] { return s.try_acquire_for(test::eventually_deadline) ? 0 : 1; }};
  EXPECT_TRUE(come_to_wait(s, 2));
  s.release(2);
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(two.wait(), 0);
}

TEST_F(Semaphore, APermitIsTakenByOneOnly) {
  semaphore s{3};
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([&, own = s]() mutable {
        for (int i = 0; i < 200; ++i) {
          own.acquire();
          const int now = ++inside;
          for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
          }
          --inside;
          own.release();
        }
      });
    }
  }
  EXPECT_LE(most, 3);
  EXPECT_EQ(s.value(), 3);
}

TEST_F(Semaphore, Crosses) {
  semaphore s{1};
  semaphore arrived = crossed(s);
  arrived.acquire();
  EXPECT_EQ(s.value(), 0);
  s.release();
  EXPECT_EQ(arrived.value(), 1);
  EXPECT_EQ(arrived, s);
}

TEST_F(Semaphore, PermitsOfTheDeadAreGivenBackWhenTheirDeathIsReported) {
  semaphore s{3};
  forked holder{[&] {
    s.acquire();
    s.acquire();
    return 0;
  }};
  EXPECT_EQ(holder.wait(), 0);
  detail::recover_objects_of_dead();
  EXPECT_EQ(s.value(), 3);
}

TEST_F(Semaphore, AWaiterFindsOutByItselfThatTheHolderDied) {
  semaphore s{1};
  signpost taken;
  forked holder{[&]() -> int {
    s.acquire();
    taken.reached();
    return test::sleep_until_killed();
  }};
  taken.await();
  holder.kill_without_reaping();
  s.acquire();
  EXPECT_EQ(s.value(), 0);
}

TEST_F(Semaphore, AKilledWaiterTakesNothingWithIt) {
  semaphore s{0};
  for (int i = 0; i < 20; ++i) {
    forked waiter{[&] {
      s.acquire();
      return 0;
    }};
    forked survivor{[&] {
      s.acquire();
      return 0;
    }};
    ASSERT_TRUE(come_to_wait(s, 2)) << i;
    waiter.signal(SIGKILL);
    s.release();
    waiter.wait();
    ASSERT_EQ(survivor.wait(), 0) << i;
    detail::recover_objects_of_dead();  // the survivor left with its permit, too
    while (s.try_acquire()) {
    }
    // The test itself now holds what was given back: give it up without making it free.
    s = semaphore{0};
  }
}

TEST_F(Semaphore, OthersMayReleaseWhatAProcessTook) {
  semaphore s{2};
  signpost taken;
  forked holder{[&]() -> int {
    s.acquire();
    s.acquire();
    taken.reached();
    return test::sleep_until_killed();
  }};
  taken.await();
  s.release();
  EXPECT_EQ(s.value(), 1);
  holder.kill();
  detail::recover_objects_of_dead();
  EXPECT_EQ(s.value(), 2) << "one was released for it, one it held";
}

TEST_F(Semaphore, ANewProcessInADeadOnesPlaceBeginsWithNothing) {
  bounded_semaphore s{5};
  for (int i = 0; i < 10; ++i) {
    forked holder{[&] {
      s.acquire();
      return 0;
    }};
    ASSERT_EQ(holder.wait(), 0);
    detail::recover_objects_of_dead();
    ASSERT_EQ(s.value(), 5) << i;
  }
}

TEST_F(BoundedSemaphore, IsNotReleasedMoreOftenThanAcquired) {
  bounded_semaphore s{2};
  EXPECT_THROW(s.release(), std::logic_error);
  s.acquire();
  EXPECT_THROW(s.release(2), std::logic_error);
  EXPECT_EQ(s.value(), 1);
  s.release();
  EXPECT_EQ(s.value(), 2);
  EXPECT_EQ(bounded_semaphore{}.value(), 1);
}

TEST_F(BoundedSemaphore, KeepsItsBoundWhenHoldersDie) {
  bounded_semaphore s{2};
  forked holder{[&] {
    s.acquire();
    return 0;
  }};
  EXPECT_EQ(holder.wait(), 0);
  s.acquire();
  detail::recover_objects_of_dead();
  EXPECT_EQ(s.value(), 1);
  s.release();
  EXPECT_THROW(s.release(), std::logic_error);
}

}  // namespace
}  // namespace troupe
