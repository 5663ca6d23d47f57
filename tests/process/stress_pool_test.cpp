// SPDX-License-Identifier: BSD-3-Clause
// Many tasks, many deaths, many pools: the promises of one, kept a hundred thousand times. Seeds
// are printed; TROUPE_TEST_SEED repeats one.
#include "troupe/this_process.hpp"

#include "stress_fixture.hpp"

#include <iostream>
#include <latch>
#include <random>
#include <ranges>
#include <thread>

namespace troupe::test {
namespace {

using failpoint::action;
using failpoint::arm;

struct Stress : stress_test {};
TROUPE_FOR_EVERY_START_METHOD(Stress);

constexpr int most_tasks = 100'000;

std::int64_t counted_square(const std::string& path, int task) {
  static effects all{path, most_tasks};
  all.of(task).fetch_add(1);
  spin_for(50us);
  return std::int64_t{task} * task;
}

// S01
TEST_P(Stress, AKillEveryFiftyMillisecondsCostsAtMostOneTaskEach) {
  const int count = scaled(most_tasks);
  const std::string path = fresh_file();
  effects ran{path, most_tasks};
  pool p{crew_of()};
  std::vector<future<std::int64_t>> all;
  all.reserve(static_cast<std::size_t>(count));
  killer killing{p, seed_, 50ms};
  for (int i = 0; i < count; ++i) {
    all.push_back(p.apply_async(counted_square, path, i));
  }
  int lost = 0;
  for (int i = 0; i < count; ++i) {
    const auto& one = all[static_cast<std::size_t>(i)];
    const ended how = outcome_of(one);
    const std::uint32_t times = ran.of(i).load();
    if (how == ended::value) {
      ASSERT_EQ(one.get(), std::int64_t{i} * i);
      ASSERT_EQ(times, 1U) << "task " << i;
    } else {
      ASSERT_EQ(how, ended::lost) << "task " << i;
      ASSERT_LE(times, 1U) << "task " << i;
      ++lost;
    }
  }
  const int kills = killing.stop();
  std::cout << count << " tasks, " << kills << " kills, " << lost << " lost" << std::endl;
  EXPECT_LE(lost, kills);
  EXPECT_EQ(p.stats().failed, static_cast<std::uint64_t>(lost));
  expect_whole(p);
}

// S01 with retries: nothing is lost, and an attempt is counted for each time it ran.
TEST_P(Stress, WithRetriesKillsCostNothing) {
  const int count = scaled(20'000);
  const std::string path = fresh_file();
  effects ran{path, most_tasks};
  pool p{crew_of()};
  killer killing{p, seed_, 50ms};
  const auto values =
      p.with({.retries = 100}).map(partial(counted_square, path), std::views::iota(0, count));
  const int kills = killing.stop();
  std::uint64_t extra = 0;
  for (int i = 0; i < count; ++i) {
    ASSERT_EQ(values[static_cast<std::size_t>(i)], std::int64_t{i} * i);
    ASSERT_GE(ran.of(i).load(), 1U);
    extra += ran.of(i).load() - 1;
  }
  EXPECT_LE(extra, p.stats().retried);
  EXPECT_LE(p.stats().retried, static_cast<std::uint64_t>(kills));
  std::cout << kills << " kills, " << p.stats().retried << " retried" << std::endl;
  expect_whole(p);
}

std::vector<std::uint64_t> numbered(std::size_t words, std::uint64_t number) {
  return std::vector<std::uint64_t>(words, number);
}

// S02: the writer of a large result dies half-way through it.
TEST_P(Stress, LargeResultsAreWholeOrLostWhenTheirWritersDie) {
  constexpr std::size_t words = std::size_t{1} << 17;  // 1 MiB
  const int count = scaled(2'000);
  twice([&] {
    pool p{crew_of()};
    int kills = 0;
    int lost = 0;
    for (int begin = 0; begin < count; begin += 50) {
      arm("worker.result_half_written", action::kill, static_cast<std::uint32_t>(1 + below(40)));
      ++kills;
      std::vector<future<std::vector<std::uint64_t>>> some;
      for (int i = begin; i < begin + 50; ++i) {
        some.push_back(p.apply_async(numbered, words, static_cast<std::uint64_t>(i)));
      }
      for (int i = begin; i < begin + 50; ++i) {
        const auto& one = some[static_cast<std::size_t>(i - begin)];
        if (outcome_of(one) == ended::value) {
          ASSERT_EQ(one.get(), numbered(words, static_cast<std::uint64_t>(i)));
        } else {
          ++lost;
        }
      }
    }
    EXPECT_EQ(lost, kills);
    failpoint::reset();
    expect_whole(p);
  });
}

int end_as_told(int how) {
  switch (how % 4) {
    case 0:
      ::signal(SIGSEGV, SIG_DFL);
      ::raise(SIGSEGV);
      break;
    case 1:
      ::signal(SIGABRT, SIG_DFL);
      ::raise(SIGABRT);
      break;
    case 2:
      ::_exit(0);
    default:
      throw std::out_of_range{"as told"};
  }
  return 0;
}

// S03
TEST_P(Stress, EachTasksErrorMatchesItsOwnCause) {
  const int count = scaled(1'000);
  pool p{crew_of()};
  std::vector<future<int>> bad;
  std::vector<future<int>> good;
  for (int i = 0; i < count; ++i) {
    bad.push_back(p.apply_async(end_as_told, i));
    good.push_back(p.apply_async(square, i % 100));
  }
  for (int i = 0; i < count; ++i) {
    const auto& one = bad[static_cast<std::size_t>(i)];
    switch (i % 4) {
      case 0:
        ASSERT_TRUE(is_lost(one, killed_by{SIGSEGV}));
        break;
      case 1:
        ASSERT_TRUE(is_lost(one, killed_by{SIGABRT}));
        break;
      case 2:
        ASSERT_TRUE(is_lost(one, exited{0}));
        break;
      default:
        ASSERT_THROW(one.get(), std::out_of_range);
        break;
    }
    ASSERT_EQ(good[static_cast<std::size_t>(i)].get(), (i % 100) * (i % 100));
  }
  expect_whole(p);
}

std::uint64_t counted_worker(const std::string& path, int task) {
  static effects all{path, most_tasks};
  all.of(task).fetch_add(1);
  return this_process::worker_id();
}

// S07
TEST_P(Stress, AWorkerForEachTaskLosesNone) {
  const int count = scaled(1'000);
  const std::string path = fresh_file();
  effects ran{path, most_tasks};
  std::atomic<int> outcomes{0};
  pool_options brief = crew_of();
  brief.max_tasks_per_worker = 1;
  pool p{brief};
  std::vector<future<std::uint64_t>> all;
  all.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    all.push_back(p.apply_async(counted_worker, path, i));
    all.back().on_done([&outcomes](const auto&) { ++outcomes; });
  }
  std::set<std::uint64_t> workers;  // their ids, which unlike pids are never used again
  for (int i = 0; i < count; ++i) {
    const auto& one = all[static_cast<std::size_t>(i)];
    ASSERT_EQ(outcome_of(one), ended::value) << "task " << i;
    ASSERT_EQ(ran.of(i).load(), 1U) << "task " << i;
    ASSERT_TRUE(workers.insert(one.get()).second)
        << "worker " << one.get() << " ran a second task, " << i;
  }
  EXPECT_TRUE(eventually([&] { return outcomes == count; })) << outcomes << " outcomes";
  // The last ones leave when their replacements are there.
  EXPECT_TRUE(eventually([&] { return p.stats().recycled == static_cast<std::uint64_t>(count); }))
      << p.stats().recycled << " recycled after " << count << " tasks";
  EXPECT_TRUE(eventually([&] { return p.workers().size() == crew; }));
  EXPECT_TRUE(eventually([&] { return count_processes("troupe-w") == crew; }))
      << describe_our_processes();
  const pool_stats stats = p.stats();
  EXPECT_EQ(stats.submitted, static_cast<std::uint64_t>(count));
  EXPECT_EQ(stats.succeeded, static_cast<std::uint64_t>(count));
  EXPECT_EQ(stats.failed + stats.cancelled + stats.retried + stats.deaths, 0U);
  EXPECT_EQ(stats.queued + stats.running, 0U);
}

std::size_t resident_kib() {
  std::ifstream in{"/proc/self/statm"};
  std::size_t total = 0;
  std::size_t resident = 0;
  in >> total >> resident;
  return resident * 4;
}

// S04: descriptors, mappings, threads are looked at by the fixture; memory here.
TEST_P(Stress, HundredsOfPoolsLeaveNothingBehind) {
  const int cycles = scaled(500);
  std::size_t early = 0;
  std::optional<leak_check> settled;
  for (int i = 0; i < cycles; ++i) {
    if (i == cycles / 5) {
      early = resident_kib();
      settled.emplace();
    }
    pool p{crew_of(2)};
    ASSERT_EQ(p.apply(square, i % 100), (i % 100) * (i % 100));
    if (i % 2 == 0) {
      p.close();
      p.join();
    }
  }
  EXPECT_EQ(settled->leftovers(10s), "");
  const std::size_t late = resident_kib();
  std::cout << cycles << " pools, " << early << " KiB early, " << late << " KiB late" << std::endl;
  if (!sanitized) {
    EXPECT_LT(late, early + 1024);
  }
}

int spin_briefly(int microseconds) {
  spin_for(std::chrono::microseconds{microseconds});
  return microseconds;
}

// B34
TEST_P(Stress, CancelRacesWithDeathAndCompletion) {
  const int count = scaled(10'000);
  pool_options impatient = crew_of();
  impatient.grace = 1ms;
  pool p{impatient};
  std::array<int, 3> seen{};
  killer killing{p, seed_, 20ms};
  for (int begin = 0; begin < count; begin += 100) {
    // Besides those from outside: one that ends with a result in its hands.
    arm(begin % 200 == 0 ? "worker.ran" : "worker.sent", action::kill,
        static_cast<std::uint32_t>(1 + below(50)));
    std::vector<future<int>> some;
    std::vector<std::unique_ptr<std::atomic<int>>> called;
    for (int i = 0; i < 100; ++i) {
      some.push_back(p.apply_async(spin_briefly, i % 7 * 10));
      called.push_back(std::make_unique<std::atomic<int>>(0));
      some.back().on_done([&count_calls = *called.back()](const auto&) { ++count_calls; });
    }
    std::vector<bool> certain;
    for (auto& one : some) {
      certain.push_back(below(2) == 0 ? one.cancel() : below(8) == 0 && one.cancel(force));
    }
    for (std::size_t i = 0; i < some.size(); ++i) {
      const ended first = outcome_of(some[i]);
      ASSERT_EQ(outcome_of(some[i]), first);
      ASSERT_TRUE(first == ended::value || first == ended::lost || first == ended::cancelled);
      ++seen[static_cast<std::size_t>(first == ended::value ? 0 : first == ended::lost ? 1 : 2)];
      if (certain[i]) {
        ASSERT_EQ(first, ended::cancelled);
      }
      ASSERT_FALSE(some[i].cancel());
      ASSERT_EQ(outcome_of(some[i]), first);
    }
    for (const auto& calls : called) {
      ASSERT_TRUE(eventually([&] { return *calls == 1; }));
    }
  }
  failpoint::reset();
  const int kills = killing.stop();
  const std::uint64_t deaths = p.stats().deaths;
  std::cout << seen[0] << " values, " << seen[1] << " lost in " << deaths << " deaths, " << kills
            << " of them from outside, " << seen[2] << " cancelled" << std::endl;
  EXPECT_LE(seen[1], kills + count / 100);
  EXPECT_GT(seen[0], 0);
  EXPECT_GT(seen[2], 0);
  expect_whole(p);
}

// S21
TEST_P(Stress, SubmitRacesWithCloseAndTerminate) {
  const int rounds = scaled(200);
  int values = 0;
  int cancelled = 0;
  int refused = 0;
  for (int round = 0; round < rounds; ++round) {
    constexpr int submitters = 3;
    std::array<std::vector<future<int>>, submitters> futures;
    std::atomic<int> refusals{0};
    pool p{crew_of(2)};
    std::latch begin{submitters + 1};
    std::vector<std::jthread> threads;
    for (int t = 0; t < submitters; ++t) {
      threads.emplace_back([&, t] {
        begin.arrive_and_wait();
        for (int i = 0; i < 50; ++i) {
          try {
            futures[static_cast<std::size_t>(t)].push_back(p.apply_async(square, i));
          } catch (const pool_closed&) {
            ++refusals;
          }
        }
      });
    }
    const bool close = round % 2 == 0;
    const int delay = below(300);
    begin.arrive_and_wait();
    spin_for(std::chrono::microseconds{delay});
    if (close) {
      p.close();
    } else {
      p.terminate();
    }
    p.join();
    threads.clear();
    for (const auto& some : futures) {
      for (const auto& one : some) {
        // A submission that was accepted after the end has its outcome already.
        ASSERT_TRUE(one.wait_for(eventually_deadline));
        switch (outcome_of(one)) {
          case ended::value:
            ++values;
            break;
          case ended::cancelled:
            ASSERT_FALSE(close);
            ++cancelled;
            break;
          case ended::closed:
            ++refused;
            break;
          case ended::lost:
            ASSERT_FALSE(close) << "a worker was lost without a death";
            break;
          default:
            FAIL() << "another outcome";
        }
      }
    }
    refused += refusals;
  }
  std::cout << values << " values, " << cancelled << " cancelled, " << refused << " refused"
            << std::endl;
  EXPECT_GT(values, 0);
  EXPECT_GT(refused, 0);
}

// S20
TEST_P(Stress, TenThreadsSubmitCancelAndLook) {
  const int each = scaled(3'000);
  pool p{crew_of()};
  std::atomic<int> values{0};
  std::atomic<int> cancelled{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 10; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 random{seed_ + static_cast<unsigned>(t)};
        for (int i = 0; i < each; i += 10) {
          std::vector<future<int>> some;
          for (int j = 0; j < 10; ++j) {
            some.push_back(p.apply_async(square, i + j));
          }
          if (random() % 4 == 0) {
            some[random() % 10].cancel();
          }
          if (random() % 8 == 0) {
            static_cast<void>(p.stats());
            static_cast<void>(p.workers());
          }
          for (int j = 0; j < 10; ++j) {
            const auto& one = some[static_cast<std::size_t>(j)];
            const ended how = outcome_of(one);
            if (how == ended::value) {
              EXPECT_EQ(one.get(), (i + j) * (i + j));
              ++values;
            } else {
              EXPECT_EQ(how, ended::cancelled);
              ++cancelled;
            }
          }
        }
      });
    }
  }
  EXPECT_EQ(values + cancelled, 10 * each);
  EXPECT_EQ(p.stats().cancelled, static_cast<std::uint64_t>(cancelled.load()));
  expect_whole(p);
}

}  // namespace
}  // namespace troupe::test
