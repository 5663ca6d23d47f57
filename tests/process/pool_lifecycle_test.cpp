// SPDX-License-Identifier: BSD-3-Clause
// From constructor to destructor: close, join, terminate, bounded queues; whatever happens, every
// future ends.
#include "pool_fixture.hpp"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

struct PoolLifecycle : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(PoolLifecycle);

TEST_P(PoolLifecycle, CloseFinishesWhatIsQueuedAndJoinWaitsForIt) {
  pool p{options()};
  std::vector<future<int>> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(p.apply_async(square, i));
  }
  auto many = p.map_async(square, std::views::iota(0, 3000));
  p.close();
  p.join();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(all[static_cast<std::size_t>(i)].ready());
    EXPECT_EQ(all[static_cast<std::size_t>(i)].get(), square(i));
  }
  EXPECT_TRUE(many.ready());
  EXPECT_EQ(many.get().size(), 3000U);
  EXPECT_TRUE(p.workers().empty());
}

TEST_P(PoolLifecycle, AClosedPoolTakesNoNewWork) {
  pool p{options()};
  const std::string gate = file("gate");
  auto running = p.apply_async(wait_at, file("running"), gate);
  p.close();
  const std::vector<int> items{1, 2, 3};
  const std::vector<std::pair<int, int>> pairs{{1, 2}};
  const auto refuse_all = [&] {
    const auto closed = [](auto&& call) { return fails_with(errc::pool_closed, call); };
    EXPECT_TRUE(closed([&] { return p.apply(square, 1); }));
    EXPECT_TRUE(closed([&] { return p.apply_async(square, 1); }));
    EXPECT_TRUE(closed([&] { return p.try_apply_async(square, 1); }));
    EXPECT_TRUE(closed([&] { return p.map(square, items); }));
    EXPECT_TRUE(closed([&] { return p.map_async(square, items); }));
    EXPECT_TRUE(closed([&] { return p.starmap(add, pairs); }));
    EXPECT_TRUE(closed([&] { return p.starmap_async(add, pairs); }));
    EXPECT_TRUE(closed([&] { return *p.imap(square, items).begin(); }));
    EXPECT_TRUE(closed([&] { return *p.imap_unordered(square, items).begin(); }));
    EXPECT_TRUE(closed([&] { return p.with({.priority = 1}).apply(square, 1); }));
    EXPECT_THROW(p.apply(square, 1), pool_closed);
  };
  refuse_all();
  mark(gate);
  EXPECT_EQ(running.get(), 1);
  p.join();
  refuse_all();
  p.terminate();
  refuse_all();
}

TEST_P(PoolLifecycle, EveryStepMayBeRepeated) {
  pool p{options()};
  EXPECT_EQ(p.apply(square, 3), 9);
  p.close();
  p.close();
  p.join();
  p.join();
  p.terminate();
  p.terminate();
  p.join();
  p.close();
  p.join();
}

TEST_P(PoolLifecycle, APoolThatWasNeverUsedEnds) {
  {
    pool p{options()};
  }
  {
    pool p{options()};
    p.close();
    p.join();
  }
  {
    pool p{options()};
    p.terminate();
    p.join();
  }
}

// Python lets them wait for ever.
TEST_P(PoolLifecycle, TerminateEndsEveryPendingFuture) {
  pool p{options()};
  const std::string gate = file("never opened");
  std::vector<future<int>> running;
  for (int i = 0; i < 2; ++i) {
    running.push_back(p.apply_async(wait_at, file("running"), gate));
  }
  std::vector<future<int>> queued;
  for (int i = 0; i < 100; ++i) {
    queued.push_back(p.apply_async(square, i));
  }
  auto many = p.map_async(square, std::views::iota(0, 3000));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 2; }));
  std::atomic<int> ended{0};
  for (auto& f : queued) {
    f.on_done([&](const future<int>&) { ++ended; });
  }
  p.terminate();
  p.join();
  for (auto& f : running) {
    EXPECT_TRUE(f.ready());
    EXPECT_THROW(f.get(), cancelled_error);
  }
  for (auto& f : queued) {
    EXPECT_TRUE(f.ready());
    EXPECT_TRUE(f.cancelled());
    EXPECT_THROW(f.get(), cancelled_error);
  }
  EXPECT_TRUE(many.ready());
  EXPECT_THROW(many.get(), cancelled_error);
  EXPECT_EQ(ended, 100);
}

TEST_P(PoolLifecycle, TerminateGoesByTheLadderForATaskThatIgnoresSigterm) {
  pool_options short_grace = options(1);
  short_grace.grace = 20ms;
  pool p{short_grace};
  auto f = p.apply_async(
      [](const std::string& running) {
        ::signal(SIGTERM, SIG_IGN);
        mark(running);
        for (;;) {
          ::pause();
        }
      },
      file("running"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  p.terminate();
  p.join();
  EXPECT_THROW(f.get(), cancelled_error);
}

TEST_P(PoolLifecycle, TheDestructorEndsPendingWorkAndItsFutures) {
  std::vector<future<int>> all;
  future<std::vector<int>> many;
  {
    pool p{options()};
    for (int i = 0; i < 2; ++i) {
      all.push_back(p.apply_async(wait_at, file("running"), file("never opened")));
    }
    for (int i = 0; i < 50; ++i) {
      all.push_back(p.apply_async(square, i));
    }
    many = p.map_async(square, std::views::iota(0, 100));
    ASSERT_TRUE(eventually([&] { return marks(file("running")) == 2; }));
  }
  for (auto& f : all) {
    ASSERT_TRUE(f.ready());
    EXPECT_THROW(f.get(), cancelled_error);
  }
  ASSERT_TRUE(many.ready());
  EXPECT_THROW(many.get(), cancelled_error);
}

TEST_P(PoolLifecycle, AThreadThatWaitsIsWokenByTerminate) {
  pool p{options(1)};
  auto f = p.apply_async(wait_at, file("running"), file("never opened"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  std::atomic<bool> woken{false};
  std::jthread waiter{[&] {
    EXPECT_THROW(f.get(), cancelled_error);
    woken = true;
  }};
  std::jthread mapper{[&] {
    // In a queue behind it, or refused: it ends either way.
    EXPECT_THROW(p.map(square, std::vector{1, 2, 3}), error);
  }};
  static_cast<void>(eventually([&] { return p.stats().submitted >= 2; }));
  p.terminate();
  p.join();
  waiter.join();
  mapper.join();
  EXPECT_TRUE(woken);
}

TEST_P(PoolLifecycle, SubmittingThreadsRaceWithCloseAndEveryFutureEnds) {
  for (int round = 0; round < 5; ++round) {
    pool p{options()};
    std::atomic<int> accepted{0};
    std::atomic<int> ended{0};
    std::vector<std::jthread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        std::vector<future<int>> mine;
        try {
          for (;;) {
            mine.push_back(p.apply_async(square, 3));
            ++accepted;
          }
        } catch (const pool_closed&) {
        }
        for (auto& f : mine) {
          try {
            f.get();
          } catch (const error&) {
          }
          ++ended;
        }
      });
    }
    static_cast<void>(eventually([&] { return accepted > 100; }));
    if (round % 2 == 0) {
      p.close();
    } else {
      p.terminate();
    }
    p.join();
    threads.clear();
    EXPECT_EQ(ended, accepted);
  }
}

TEST_P(PoolLifecycle, AMovedPoolIsTheSamePool) {
  std::optional<pool> first{std::in_place, options()};
  auto f = first->apply_async(square, 3);
  const auto before = pids_of(*first);
  pool second{std::move(*first)};
  first.reset();  // the destructor of a moved-from pool ends nothing
  EXPECT_EQ(f.get(), 9);
  EXPECT_EQ(second.apply(square, 4), 16);
  EXPECT_EQ(pids_of(second), before);
}

TEST_P(PoolLifecycle, WithMayOutliveItsPoolAndIsClosedThen) {
  const auto with = [&] {
    pool p{options()};
    return p.with({.retries = 1});
  }();
  EXPECT_THROW(static_cast<void>(pool_with{with}.apply_async(square, 1)), pool_closed);
  EXPECT_THROW(static_cast<void>(pool_with{with}.map(square, std::views::iota(0, 3))), pool_closed);
}

TEST_P(PoolLifecycle, TwoPoolsAreIndependent) {
  pool a{options()};
  pool b{options(1)};
  auto slow = b.apply_async(wait_at, file("running"), file("gate"));
  EXPECT_EQ(a.apply(square, 3), 9);
  a.terminate();
  a.join();
  mark(file("gate"));
  EXPECT_EQ(slow.get(), 1);
  EXPECT_EQ(b.apply(square, 3), 9);
}

TEST_P(PoolLifecycle, WorkersAreThereWhenTheConstructorReturns) {
  pool p{options(3)};
  EXPECT_EQ(p.workers().size(), 3U);
  EXPECT_EQ(pids_of(p).size(), 3U);
  EXPECT_EQ(pids_of(p).count(::getpid()), 0U);
}

// bpo-10332's sibling: many rounds of a short life.
TEST_P(PoolLifecycle, APoolIsMadeAndEndedManyTimes) {
  for (int i = 0; i < 15; ++i) {
    pool p{options()};
    auto f = p.apply_async(square, i);
    if (i % 3 == 0) {
      p.close();
      p.join();
      EXPECT_EQ(f.get(), square(i));
    } else if (i % 3 == 1) {
      p.terminate();
    }
  }
}

// ---- max_queued ---------------------------------------------------------------------------------

struct PoolBackPressure : every_start_method {
 protected:
  [[nodiscard]] pool_options bounded(std::size_t most) const {
    pool_options made = options(1);
    made.max_queued = most;
    return made;
  }
};
TROUPE_FOR_EVERY_START_METHOD(PoolBackPressure);

TEST_P(PoolBackPressure, TryApplyAsyncRefusesWhenTheQueueIsFull) {
  pool p{bounded(3)};
  const std::string gate = file("gate");
  auto running = p.apply_async(wait_at, file("running"), gate);
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  std::vector<future<int>> taken;
  bool refused = false;
  for (int i = 0; i < 20 && !refused; ++i) {
    if (auto f = p.try_apply_async(square, i)) {
      taken.push_back(*f);
    } else {
      refused = true;
    }
  }
  EXPECT_TRUE(refused);
  EXPECT_GE(taken.size(), 3U);
  EXPECT_LE(taken.size(), 5U) << "three in the queue, and what went ahead to the worker";
  EXPECT_LE(p.stats().queued, 3U);
  EXPECT_FALSE(p.try_apply_async(square, 1).has_value());
  mark(gate);
  EXPECT_TRUE(eventually([&] { return p.stats().queued == 0; }));
  EXPECT_TRUE(p.try_apply_async(square, 1).has_value());
  for (std::size_t i = 0; i < taken.size(); ++i) {
    EXPECT_EQ(taken[i].get(), square(static_cast<int>(i)));
  }
}

TEST_P(PoolBackPressure, SubmitBlocksUntilThereIsRoom) {
  pool p{bounded(2)};
  const std::string gate = file("gate");
  auto running = p.apply_async(wait_at, file("running"), gate);
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  std::atomic<int> submitted{0};
  std::vector<future<int>> all;
  std::jthread submitter{[&] {
    for (int i = 0; i < 200; ++i) {
      all.push_back(p.apply_async(square, i));
      ++submitted;
    }
  }};
  ASSERT_TRUE(eventually([&] { return p.stats().queued == 2; }));
  EXPECT_LE(submitted, 4);
  mark(gate);
  submitter.join();
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(all[static_cast<std::size_t>(i)].get(), square(i));
  }
}

TEST_P(PoolBackPressure, ABlockedSubmissionIsRefusedWhenThePoolEnds) {
  for (const bool close : {false, true}) {
    pool p{bounded(1)};
    const std::string gate = file(close ? "gate of close" : "never opened");
    const std::string running = file(close ? "running of close" : "running");
    auto first = p.apply_async(wait_at, running, gate);
    ASSERT_TRUE(eventually([&] { return marks(running) > 0; }));
    std::atomic<bool> refused{false};
    std::jthread submitter{[&] {
      try {
        for (;;) {
          static_cast<void>(p.apply_async(square, 1));
        }
      } catch (const pool_closed&) {
        refused = true;
      }
    }};
    ASSERT_TRUE(eventually([&] { return p.stats().queued == 1; }));
    if (close) {
      p.close();
      mark(gate);
    } else {
      p.terminate();
    }
    submitter.join();
    EXPECT_TRUE(refused);
    p.join();
  }
}

TEST_P(PoolBackPressure, CancellingMakesRoom) {
  pool p{bounded(2)};
  const std::string gate = file("gate");
  auto running = p.apply_async(wait_at, file("running"), gate);
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  for (int round = 0; round < 50; ++round) {
    std::vector<future<int>> taken;
    while (auto f = p.try_apply_async(square, 1)) {
      taken.push_back(*f);
      ASSERT_LE(taken.size(), 4U);
    }
    ASSERT_FALSE(taken.empty()) << "round " << round << ": room was lost";
    for (auto& f : taken) {
      ASSERT_TRUE(f.cancel());
    }
  }
  mark(gate);
  EXPECT_EQ(running.get(), 1);
  EXPECT_EQ(p.apply(square, 3), 9);
}

// What is cancelled goes from its worker back to the queue and out of it: one place, not two.
TEST_P(PoolBackPressure, WhatWasSentAheadAndIsCancelledCountsOnce) {
  constexpr std::size_t most = 30;
  pool p{bounded(most)};
  std::vector<future<int>> taken;
  // There is room exactly when fewer wait than may: asked at every step, while no task ends.
  const auto fill = [&] {
    for (;;) {
      const std::uint64_t queued = p.stats().queued;
      const auto f = p.try_apply_async(square, 3);
      ASSERT_EQ(f.has_value(), queued < most) << queued << " queued";
      if (!f) {
        return;
      }
      taken.push_back(*f);
    }
  };
  // How many tasks are sent ahead depends on measured times, hence several attempts.
  for (int attempt = 0; attempt < 50; ++attempt) {
    p.map(square, std::views::iota(0, 3000));
    taken.clear();
    const std::string gate = file(("gate " + std::to_string(attempt)).c_str());
    auto running = p.apply_async(wait_at, gate + " running", gate);
    ASSERT_TRUE(eventually([&] { return marks(gate + " running") > 0; }));
    ASSERT_NO_FATAL_FAILURE(fill());
    const bool some_ahead = taken.size() > most + 2;
    if (some_ahead) {
      for (int i = 0; i < 50; ++i) {
        ASSERT_TRUE(taken.front().cancel());
        taken.erase(taken.begin());
        ASSERT_NO_FATAL_FAILURE(fill());
      }
      for (auto& f : taken) {
        ASSERT_TRUE(f.cancel());
      }
      EXPECT_EQ(p.stats().queued, 0U);
      EXPECT_EQ(p.stats().running, 1U);
      taken.clear();
      ASSERT_NO_FATAL_FAILURE(fill());
      EXPECT_GE(taken.size(), most);
    }
    mark(gate);
    EXPECT_EQ(running.get(), 1);
    for (const auto& f : taken) {
      EXPECT_EQ(f.get(), 9);
    }
    if (some_ahead) {
      return;
    }
  }
  ADD_FAILURE() << "no task was ever sent ahead";
}

TEST_P(PoolBackPressure, MapsPassThroughABoundedQueue) {
  pool p{bounded(4)};
  EXPECT_EQ(p.map(square, std::views::iota(0, 2000)).size(), 2000U);
  EXPECT_EQ(p.map_async(square, std::views::iota(0, 2000)).get().size(), 2000U);
  EXPECT_EQ(p.map(square, std::views::iota(0, 2000), {.chunk = 100}).size(), 2000U);
  int given = 0;
  for ([[maybe_unused]] const int y : p.imap_unordered(square, std::views::iota(0, 2000))) {
    ++given;
  }
  EXPECT_EQ(given, 2000);
  EXPECT_EQ(p.apply(square, 3), 9);
}

TEST_P(PoolBackPressure, DeathsLoseNoRoom) {
  pool p{bounded(2)};
  for (int i = 0; i < 10; ++i) {
    auto lost = p.apply_async([] { ::kill(::getpid(), SIGKILL); });
    auto a = p.apply_async(square, 1);
    auto b = p.apply_async(square, 2);
    EXPECT_THROW(lost.get(), worker_lost);
    EXPECT_EQ(a.get() + b.get(), 5);
  }
  ASSERT_TRUE(eventually([&] { return p.stats().queued == 0; }));
  EXPECT_TRUE(p.try_apply_async(square, 1).has_value());
}

}  // namespace
}  // namespace troupe::test
