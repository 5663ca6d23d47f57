// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/barrier.hpp"

#include "troupe/array.hpp"
#include "troupe/value.hpp"

#include "runtime/shared/crossing_handles.hpp"
#include "runtime/shared/shared_fixture.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::crossed;
using test::eventually;
using test::forked;
using test::signpost;

class Barrier : public test::shared_objects {
 protected:
  /// A process that arrives once: exits with its number, or with 50 if the barrier broke.
  static std::unique_ptr<forked> arriving_process(barrier b) {
    return std::make_unique<forked>([b]() mutable {
      try {
        return static_cast<int>(b.arrive_and_wait());
      } catch (const broken_barrier&) {
        return 50;
      }
    });
  }
  static bool waiting(const barrier& b, std::size_t count) {
    return eventually([&] { return b.waiting() == count; });
  }
  /// As a captureless function has it.
  static inline value<int>* acted = nullptr;
};

TEST_F(Barrier, RefusesNumbersThatMakeNoSense) {
  EXPECT_THROW(barrier{0}, std::invalid_argument);
  EXPECT_THROW(barrier{-2}, std::invalid_argument);
}

TEST_F(Barrier, OfOnePartyNeverBlocks) {
  barrier b;
  EXPECT_EQ(b.parties(), 1U);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(b.arrive_and_wait(), 0U);
    EXPECT_EQ(b.arrive_and_wait_for(-1s), 0U);
  }
}

TEST_F(Barrier, GivesEachPartyAnotherNumber) {
  barrier b{4};
  for (int round = 0; round < 10; ++round) {
    std::vector<std::unique_ptr<forked>> others;
    for (int i = 0; i < 3; ++i) {
      others.push_back(arriving_process(b));
    }
    std::set<int> numbers{static_cast<int>(b.arrive_and_wait())};
    for (const auto& other : others) {
      numbers.insert(other->wait());
    }
    EXPECT_EQ(numbers, (std::set<int>{0, 1, 2, 3}));
  }
  EXPECT_EQ(b.waiting(), 0U);
  EXPECT_FALSE(b.broken());
}

TEST_F(Barrier, KeepsProcessesInLockstep) {
  constexpr int parties = 3;
  constexpr int rounds = 300;
  barrier b{parties};
  raw_array<int> round(parties);
  const auto run = [&](int own) {
    for (int i = 1; i <= rounds; ++i) {
      round[static_cast<std::size_t>(own)] = i;
      b.arrive_and_wait();
      for (const int other : round) {
        if (other != i) {
          return 1;
        }
      }
      b.arrive_and_wait();
    }
    return 0;
  };
  forked one{[&] { return run(1); }};
  forked two{[&] { return run(2); }};
  EXPECT_EQ(run(0), 0);
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(two.wait(), 0);
}

TEST_F(Barrier, KeepsThreadsInLockstep) {
  constexpr int parties = 4;
  barrier b{parties};
  std::atomic<int> arrived{0};
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < parties; ++t) {
      threads.emplace_back([&, own = b]() mutable {
        for (int i = 1; i <= 50; ++i) {
          ++arrived;
          own.arrive_and_wait();
          wrong += arrived == parties * i ? 0 : 1;
          own.arrive_and_wait();
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
}

TEST_F(Barrier, CallsItsActionOnceARoundBeforeAnyPartyGoesOn) {
  value<int> count;
  acted = &count;
  barrier b{3, +[] { acted->fetch_add(1); }};
  const auto run = [&] {
    for (int i = 1; i <= 20; ++i) {
      b.arrive_and_wait();
      if (const int now = count.load(); now != i && now != i + 1) {
        return 1;
      }
    }
    return 0;
  };
  forked one{run};
  forked two{run};
  EXPECT_EQ(run(), 0);
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(two.wait(), 0);
  EXPECT_EQ(count.load(), 20);
}

TEST_F(Barrier, AnActionThatThrowsBreaksIt) {
  barrier b{2, +[] { throw std::range_error{"of the action"}; }};
  const auto other = arriving_process(b);
  ASSERT_TRUE(waiting(b, 1));
  EXPECT_THROW(b.arrive_and_wait(), std::range_error);
  EXPECT_EQ(other->wait(), 50);
  EXPECT_TRUE(b.broken());
}

TEST_F(Barrier, ATimeoutBreaksItForAll) {
  barrier b{3};
  const auto other = arriving_process(b);
  ASSERT_TRUE(waiting(b, 1));
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_THROW(b.arrive_and_wait_for(60ms), broken_barrier);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 60ms);
  EXPECT_EQ(other->wait(), 50);
  EXPECT_TRUE(b.broken());
  EXPECT_THROW(b.arrive_and_wait(), broken_barrier) << "also for parties that come now";
}

TEST_F(Barrier, AbortBreaksItAndResetMakesItNew) {
  barrier b{2};
  const auto first = arriving_process(b);
  ASSERT_TRUE(waiting(b, 1));
  b.abort();
  EXPECT_EQ(first->wait(), 50);
  EXPECT_TRUE(b.broken());
  b.reset();
  EXPECT_FALSE(b.broken());
  const auto second = arriving_process(b);
  b.arrive_and_wait();
  EXPECT_LT(second->wait(), 2);
}

TEST_F(Barrier, ResetSendsWaitingPartiesAway) {
  barrier b{2};
  const auto first = arriving_process(b);
  ASSERT_TRUE(waiting(b, 1));
  b.reset();
  const auto second = arriving_process(b);
  EXPECT_EQ(first->wait(), 50);
  b.arrive_and_wait();
  EXPECT_LT(second->wait(), 2);
  EXPECT_FALSE(b.broken());
}

TEST_F(Barrier, AKilledPartysArrivalIsWithdrawn) {
  barrier b{3};
  for (int round = 0; round < 10; ++round) {
    const auto victim = arriving_process(b);
    ASSERT_TRUE(waiting(b, 1));
    const auto survivor = arriving_process(b);
    ASSERT_TRUE(waiting(b, 2));
    victim->kill();
    ASSERT_TRUE(waiting(b, 1)) << "the survivor notices by itself";
    const auto replacement = arriving_process(b);
    const auto mine = static_cast<int>(b.arrive_and_wait());
    EXPECT_EQ((std::set<int>{mine, survivor->wait(), replacement->wait()}),
              (std::set<int>{0, 1, 2}));
  }
}

TEST_F(Barrier, ADeathInTheActionBreaksIt) {
  value<int> count;
  acted = &count;
  barrier b{2, +[] {
              acted->fetch_add(1);
              test::sleep_until_killed();
            }};
  const auto waits = arriving_process(b);
  ASSERT_TRUE(waiting(b, 1));
  const auto acts = arriving_process(b);
  ASSERT_TRUE(eventually([&] { return count.load() == 1; }));
  acts->kill();
  EXPECT_EQ(waits->wait(), 50);
  EXPECT_TRUE(b.broken());
}

TEST_F(Barrier, CrossesWithItsAction) {
  value<int> count;
  acted = &count;
  barrier b{1, +[] { acted->fetch_add(1); }};
  barrier arrived = crossed(b);
  EXPECT_EQ(arrived, b);
  EXPECT_EQ(arrived.arrive_and_wait(), 0U);
  EXPECT_EQ(count.load(), 1);
}

}  // namespace
}  // namespace troupe
