// SPDX-License-Identifier: BSD-3-Clause
// Faults of every sort in a row, and pools that change their size, stand still and go on.
#include "stress_fixture.hpp"

#include <array>
#include <iostream>
#include <optional>
#include <ranges>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

using failpoint::action;
using failpoint::arm;

struct StressFaults : stress_test {
  /// Replacing a worker by exec takes ten times as long as by fork.
  [[nodiscard]] int rounds(int full) const {
    return std::max(1, scaled(GetParam() == start_method::spawn ? full / 5 : full));
  }
};
TROUPE_FOR_EVERY_START_METHOD(StressFaults);

std::vector<std::uint64_t> numbered(std::size_t words, std::uint64_t number) {
  return std::vector<std::uint64_t>(words, number);
}

// S02: results of every size around what one frame holds, their writers die half-way.
TEST_P(StressFaults, ResultsOfAllSizesAreWholeOrLost) {
  constexpr std::size_t about = std::size_t{100} * 1024 / sizeof(std::uint64_t);
  constexpr int batch = 20;
  const int batches = rounds(40);
  pool p{crew_of(2)};
  int kills = 0;
  int lost = 0;
  for (int round = 0; round < batches; ++round) {
    arm("worker.result_half_written", action::kill, static_cast<std::uint32_t>(1 + below(batch)));
    std::vector<std::pair<std::size_t, future<std::vector<std::uint64_t>>>> some;
    for (int i = 0; i < batch; ++i) {
      const std::size_t words = about + static_cast<std::size_t>(below(about));
      some.emplace_back(words, p.apply_async(numbered, words, std::uint64_t(round * batch + i)));
    }
    ++kills;
    for (int i = 0; i < batch; ++i) {
      const auto& [words, one] = some[static_cast<std::size_t>(i)];
      ASSERT_TRUE(one.wait_for(eventually_deadline));
      if (outcome_of(one) == ended::value) {
        ASSERT_EQ(one.get(), numbered(words, std::uint64_t(round * batch + i)));
      } else {
        ++lost;
      }
    }
  }
  failpoint::reset();
  std::cout << batches * batch << " results, " << kills << " kills, " << lost << " lost"
            << std::endl;
  EXPECT_EQ(lost, kills);
  expect_whole(p, 2);
}

enum class cause : std::uint8_t { segv, abort, exit_zero, exit_seven, exception, none };

int end_by(cause what, int number) {
  switch (what) {
    case cause::segv:
      ::signal(SIGSEGV, SIG_DFL);
      ::raise(SIGSEGV);
      break;
    case cause::abort:
      ::signal(SIGABRT, SIG_DFL);
      ::raise(SIGABRT);
      break;
    case cause::exit_zero:
      ::_exit(0);
    case cause::exit_seven:
      ::_exit(7);
    case cause::exception:
      throw std::out_of_range{std::to_string(number)};
    case cause::none:
      break;
  }
  return number;
}

testing::AssertionResult ended_by(const future<int>& one, cause what, int number) {
  switch (what) {
    case cause::segv:
      return is_lost(one, killed_by{SIGSEGV});
    case cause::abort:
      return is_lost(one, killed_by{SIGABRT});
    case cause::exit_zero:
      return is_lost(one, exited{0});
    case cause::exit_seven:
      return is_lost(one, exited{7});
    default:
      break;
  }
  try {
    const int value = one.get();
    if (what == cause::none && value == number) {
      return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << "has the value " << value;
  } catch (const std::out_of_range& thrown) {
    const std::string text = thrown.what();
    if (what == cause::exception && text.find(std::to_string(number)) != std::string::npos) {
      return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << "threw: " << text;
  } catch (const std::exception& problem) {
    return testing::AssertionFailure() << "ended with: " << problem.what();
  }
}

// S03: in an order that the seed chose, all in flight at once.
TEST_P(StressFaults, EachErrorNamesItsOwnCauseInAnyOrder) {
  const int count = rounds(800);
  pool p{crew_of(3)};
  std::vector<std::pair<cause, future<int>>> all;
  std::array<int, 6> of_each{};
  for (int i = 0; i < count; ++i) {
    const int what = below(6);
    ++of_each[static_cast<std::size_t>(what)];
    all.emplace_back(static_cast<cause>(what), p.apply_async(end_by, cause(what), i));
  }
  for (int i = 0; i < count; ++i) {
    const auto& [what, one] = all[static_cast<std::size_t>(i)];
    ASSERT_TRUE(one.wait_for(eventually_deadline));
    ASSERT_TRUE(ended_by(one, what, i)) << "task " << i << ", cause " << static_cast<int>(what);
  }
  const int deaths = of_each[0] + of_each[1] + of_each[2] + of_each[3];
  EXPECT_EQ(p.stats().deaths, static_cast<std::uint64_t>(deaths));
  EXPECT_EQ(p.stats().failed, static_cast<std::uint64_t>(deaths + of_each[4]));
  EXPECT_EQ(p.stats().succeeded, static_cast<std::uint64_t>(of_each[5]));
  std::cout << deaths << " deaths in " << count << " tasks" << std::endl;
  expect_whole(p, 3);
}

// S24: no process takes anything, and the bound is kept all the same.
TEST_P(StressFaults, StoppedWorkersLeaveTheBoundOfTheQueue) {
  constexpr std::size_t bound = 64;
  constexpr int attempts = 20'000;
  const std::string text(100, 't');
  for (int round = 0; round < 4; ++round) {
    pool_options bounded = crew_of(2);
    bounded.max_queued = bound;
    pool p{bounded};
    p.map(square, std::views::iota(0, 200));
    const auto workers = p.workers();
    for (const worker_info& worker : workers) {
      ASSERT_EQ(::kill(static_cast<pid_t>(worker.pid), SIGSTOP), 0);
    }
    std::vector<future<std::string>> accepted;
    int refused = 0;
    for (int i = 0; i < attempts; ++i) {
      if (auto one = p.try_apply_async([](const std::string& echoed) { return echoed; }, text)) {
        accepted.push_back(*one);
      } else {
        ++refused;
      }
      if (i % 256 == 0) {
        ASSERT_LE(p.stats().queued, bound);
      }
    }
    // Beyond the bound only what is sent ahead to workers, which is what their channels hold.
    EXPECT_GE(accepted.size(), bound);
    EXPECT_LE(accepted.size(), static_cast<std::size_t>(attempts) / 4);
    EXPECT_EQ(accepted.size() + static_cast<std::size_t>(refused),
              static_cast<std::size_t>(attempts));
    std::size_t cancelled = 0;
    if (round % 2 == 1) {
      for (std::size_t i = 0; i < accepted.size(); i += 3) {
        cancelled += accepted[i].cancel() ? 1 : 0;
      }
    }
    const bool by_death = round >= 2;
    for (const worker_info& worker : workers) {
      ASSERT_EQ(::kill(static_cast<pid_t>(worker.pid), by_death ? SIGKILL : SIGCONT), 0);
    }
    std::size_t values = 0;
    std::size_t lost = 0;
    std::size_t gone = 0;
    for (const auto& one : accepted) {
      ASSERT_TRUE(one.wait_for(eventually_deadline)) << "no outcome";
      const ended how = outcome_of(one);
      values += how == ended::value ? 1 : 0;
      lost += how == ended::lost ? 1 : 0;
      gone += how == ended::cancelled ? 1 : 0;
    }
    EXPECT_EQ(values + lost + gone, accepted.size());
    EXPECT_GE(gone, cancelled);
    EXPECT_LE(lost, by_death ? 2U : 0U) << "more than one task for a death";
    expect_whole(p, 2);
    if (round == 0) {
      std::cout << accepted.size() << " accepted, " << refused << " refused" << std::endl;
    }
  }
}

// S25
constexpr std::array sizes{12, 2, 1, 12, 6, 1, 8, 5};

int square_slowly(int x) {
  spin_for(20us);
  return square(x % 100);
}

/// A hundred tasks more, and the next ones only when most of those before are done.
void keep_loaded(pool& p, std::vector<future<int>>& all) {
  for (int i = 0; i < 100; ++i) {
    all.push_back(p.apply_async(square_slowly, static_cast<int>(all.size())));
  }
  ASSERT_TRUE(eventually([&] {
    const pool_stats stats = p.stats();
    return stats.succeeded + stats.failed + 300 >= all.size();
  }));
}

TEST_P(StressFaults, ResizingUnderLoadLosesNothing) {
  const int times = rounds(8);
  pool p{crew_of(2)};
  std::vector<future<int>> all;
  for (int round = 0; round < times; ++round) {
    for (const int size : sizes) {
      ASSERT_NO_FATAL_FAILURE(keep_loaded(p, all));
      p.resize(size);
      if (below(4) == 0) {
        ASSERT_TRUE(eventually([&] {
          return p.workers().size() == static_cast<std::size_t>(size);
        })) << p.workers().size()
            << " workers, not " << size;
      }
    }
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    ASSERT_TRUE(all[i].wait_for(eventually_deadline)) << "task " << i << " has no outcome";
    ASSERT_EQ(all[i].get(), square(static_cast<int>(i) % 100));
  }
  EXPECT_EQ(p.stats().deaths, 0U) << "a worker that was let go is no death";
  EXPECT_EQ(p.stats().succeeded, all.size());
  expect_whole(p, sizes.back());
}

// S25 with kills
TEST_P(StressFaults, ResizingUnderLoadAndKillsLosesAtMostOneTaskEach) {
  const int times = rounds(8);
  pool p{crew_of(2)};
  std::vector<future<int>> all;
  int kills = 0;
  for (int round = 0; round < times; ++round) {
    for (const int size : sizes) {
      ASSERT_NO_FATAL_FAILURE(keep_loaded(p, all));
      p.resize(size);
      const auto workers = p.workers();
      if (!workers.empty()) {
        const auto victim = static_cast<std::size_t>(below(static_cast<int>(workers.size())));
        kills += ::kill(static_cast<pid_t>(workers[victim].pid), SIGKILL) == 0 ? 1 : 0;
      }
    }
  }
  int lost = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    ASSERT_TRUE(all[i].wait_for(eventually_deadline)) << "task " << i << " has no outcome";
    if (outcome_of(all[i]) == ended::value) {
      ASSERT_EQ(all[i].get(), square(static_cast<int>(i) % 100));
    } else {
      ASSERT_EQ(outcome_of(all[i]), ended::lost);
      ++lost;
    }
  }
  std::cout << all.size() << " tasks, " << kills << " kills, " << lost << " lost" << std::endl;
  EXPECT_LE(lost, kills);
  EXPECT_EQ(p.stats().failed, static_cast<std::uint64_t>(lost));
  EXPECT_LE(p.stats().deaths, static_cast<std::uint64_t>(kills));
  expect_whole(p, sizes.back());
}

}  // namespace
}  // namespace troupe::test
