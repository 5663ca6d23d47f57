// SPDX-License-Identifier: BSD-3-Clause
// Cancelling while everything else happens: exactly one outcome each, whichever thread was first.
#include "troupe/this_task.hpp"

#include "stress_fixture.hpp"

#include <array>
#include <iostream>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

using failpoint::action;
using failpoint::arm;

struct StressCancel : stress_test {
  /// Replacing a worker by exec takes ten times as long as by fork.
  [[nodiscard]] int rounds(int full) const {
    return scaled(GetParam() == start_method::spawn ? full / 4 : full);
  }
};
TROUPE_FOR_EVERY_START_METHOD(StressCancel);

/// How futures ended, with what was known of them before.
struct tally {
  std::atomic<int> values{0};
  std::atomic<int> lost{0};
  std::atomic<int> cancelled{0};
  std::atomic<int> closed{0};
  std::atomic<int> broken_promises{0};

  /// `certain`: what cancel answered.
  void count(ended how, bool certain) {
    switch (how) {
      case ended::value:
        ++values;
        break;
      case ended::lost:
        ++lost;
        break;
      case ended::cancelled:
        ++cancelled;
        break;
      case ended::closed:
        ++closed;
        break;
      default:
        ++broken_promises;
        break;
    }
    if (certain && how != ended::cancelled) {
      ++broken_promises;
    }
  }
  [[nodiscard]] int all() const { return values + lost + cancelled + closed; }
};

std::ostream& operator<<(std::ostream& out, const tally& seen) {
  return out << seen.values << " values, " << seen.lost << " lost, " << seen.cancelled
             << " cancelled, " << seen.closed << " closed";
}

enum class after : std::uint8_t { nothing, death };

int spin_and(int microseconds, after what) {
  spin_for(std::chrono::microseconds{microseconds});
  if (what == after::death) {
    ::kill(::getpid(), SIGKILL);
  }
  return microseconds;
}

// B34: one task at a time, cancelled at every moment of its life; some of them die of themselves.
TEST_P(StressCancel, OfOneTaskHasOneOutcomeAtEveryMoment) {
  const int count = rounds(2'000);
  pool_options impatient = crew_of(2);
  impatient.grace = 1ms;
  pool p{impatient};
  tally seen;
  int deadly = 0;
  for (int i = 0; i < count; ++i) {
    const after what = below(16) == 0 ? after::death : after::nothing;
    deadly += what == after::death ? 1 : 0;
    const auto calls = std::make_shared<std::atomic<int>>(0);
    auto one = p.apply_async(spin_and, below(100), what);
    one.on_done([calls](const auto&) { ++*calls; });
    spin_for(std::chrono::microseconds{below(200)});
    const bool certain = below(8) == 0 ? one.cancel(force) : one.cancel();
    ASSERT_TRUE(one.wait_for(eventually_deadline)) << "task " << i << " has no outcome";
    const ended first = outcome_of(one);
    ASSERT_FALSE(one.cancel());
    ASSERT_EQ(outcome_of(one), first);
    ASSERT_EQ(one.cancelled(), first == ended::cancelled);
    ASSERT_TRUE(first != ended::lost || what == after::death) << "lost without a death";
    seen.count(first, certain);
    ASSERT_TRUE(eventually([&] { return *calls == 1; })) << *calls << " calls for task " << i;
  }
  std::cout << seen << ", " << deadly << " deadly" << std::endl;
  EXPECT_EQ(seen.broken_promises, 0);
  EXPECT_EQ(seen.all(), count);
  EXPECT_LE(seen.lost, deadly);
  EXPECT_EQ(p.stats().cancelled, static_cast<std::uint64_t>(seen.cancelled.load()));
  expect_whole(p, 2);
}

// B34: the worker ends at named points around the end of a task, as that is cancelled.
TEST_P(StressCancel, RacesWithADeathAtEachStation) {
  const int count = rounds(500);
  pool p{crew_of(2)};
  constexpr std::array stations{"worker.claimed", "worker.ran", "worker.sent"};
  tally seen;
  for (int i = 0; i < count; ++i) {
    arm(stations[static_cast<std::size_t>(i) % stations.size()], action::kill,
        static_cast<std::uint32_t>(1 + below(4)));
    std::vector<future<int>> some;
    for (int j = 0; j < 4; ++j) {
      some.push_back(p.apply_async(spin_and, below(30), after::nothing));
    }
    spin_for(std::chrono::microseconds{below(150)});
    std::array<bool, 4> certain{};
    for (std::size_t j = 0; j < some.size(); ++j) {
      certain[j] = below(4) != 0 && some[j].cancel();
    }
    for (std::size_t j = 0; j < some.size(); ++j) {
      ASSERT_TRUE(some[j].wait_for(eventually_deadline)) << "task " << j << " of round " << i;
      seen.count(outcome_of(some[j]), certain[j]);
    }
  }
  failpoint::reset();
  std::cout << seen << std::endl;
  EXPECT_EQ(seen.broken_promises, 0);
  EXPECT_EQ(seen.all(), 4 * count);
  EXPECT_LE(seen.lost, count) << "more than one for a death";
  expect_whole(p, 2);
}

// B34 for a map: each item has an outcome, and the pool its own.
TEST_P(StressCancel, OfMapsWhoseWorkersDie) {
  const int count = rounds(200);
  pool_options impatient = crew_of(2);
  impatient.grace = 1ms;
  pool p{impatient};
  int values = 0;
  int cancelled = 0;
  int lost = 0;
  for (int i = 0; i < count; ++i) {
    arm("worker.ran", action::kill, static_cast<std::uint32_t>(1 + below(300)));
    auto all = p.map_async(square, std::views::iota(0, 200));
    spin_for(std::chrono::microseconds{below(1'500)});
    if (below(4) != 0) {
      static_cast<void>(below(4) == 0 ? all.cancel(force) : all.cancel());
    }
    ASSERT_TRUE(all.wait_for(eventually_deadline)) << "round " << i;
    switch (outcome_of(all)) {
      case ended::value:
        ASSERT_EQ(all.get().back(), 199 * 199);
        ++values;
        break;
      case ended::cancelled:
        ++cancelled;
        break;
      case ended::lost:
        ++lost;
        break;
      default:
        FAIL() << "another outcome";
    }
  }
  failpoint::reset();
  std::cout << values << " values, " << cancelled << " cancelled, " << lost << " lost" << std::endl;
  EXPECT_LE(lost, count);
  expect_whole(p, 2);
}

/// One of many threads that submit, cancel and look, till the pool takes no more.
class submitter {
 public:
  submitter(pool& p, tally& seen, unsigned seed, std::latch& begin, std::atomic<int>& accepted)
      : thread_{[&p, &seen, seed, &begin, &accepted] {
          std::mt19937 random{seed};
          begin.arrive_and_wait();
          for (bool open = true; open;) {
            std::vector<future<int>> some;
            for (int i = 0; i < 8 && open; ++i) {
              try {
                some.push_back(
                    p.apply_async(spin_and, static_cast<int>(random() % 20), after::nothing));
                ++accepted;
              } catch (const pool_closed&) {
                open = false;
              } catch (const std::exception& problem) {
                ADD_FAILURE() << "refused with: " << problem.what();
                open = false;
              }
            }
            std::vector<bool> certain;
            for (auto& one : some) {
              certain.push_back(random() % 3 == 0 && one.cancel());
            }
            if (random() % 8 == 0) {
              static_cast<void>(p.stats());
              static_cast<void>(p.workers());
            }
            for (std::size_t i = 0; i < some.size(); ++i) {
              if (some[i].wait_for(eventually_deadline)) {
                seen.count(outcome_of(some[i]), certain[i]);
              }
            }
          }
        }} {}

 private:
  std::jthread thread_;
};

// S20
TEST_P(StressCancel, ThreadsSubmitCancelAndResizeUntilTheEnd) {
  const int lives = std::max(2, rounds(24));
  tally seen;
  std::atomic<int> accepted{0};
  int resizes = 0;
  for (int life = 0; life < lives; ++life) {
    pool p{crew_of(2)};
    constexpr int threads = 5;
    std::latch begin{threads + 1};
    std::vector<std::unique_ptr<submitter>> all;
    for (int t = 0; t < threads; ++t) {
      all.push_back(std::make_unique<submitter>(p, seen, random_(), begin, accepted));
    }
    begin.arrive_and_wait();
    for (int i = 0; i < 6; ++i) {
      // Some work between any two of them.
      const std::uint64_t next = p.stats().submitted + 1 + static_cast<std::uint64_t>(below(50));
      ASSERT_TRUE(eventually([&] { return p.stats().submitted >= next; }));
      p.resize(1 + below(5));
      ++resizes;
    }
    const bool killed = life % 2 != 0;
    if (killed) {
      p.terminate();
    } else {
      p.close();
    }
    p.join();
    all.clear();
    // Those that close was faster than fail with pool_closed.
    const pool_stats stats = p.stats();
    EXPECT_EQ(stats.succeeded + stats.failed + stats.cancelled, stats.submitted)
        << stats.succeeded << " succeeded, " << stats.failed << " failed, " << stats.cancelled
        << " cancelled, life " << life;
    EXPECT_EQ(stats.queued + stats.running, 0U);
    EXPECT_EQ(p.stats().deaths, 0U);
  }
  std::cout << accepted << " submitted, " << resizes << " resizes: " << seen << std::endl;
  EXPECT_EQ(seen.all(), accepted) << "some futures never ended";
  EXPECT_EQ(seen.broken_promises, 0);
}

}  // namespace
}  // namespace troupe::test
