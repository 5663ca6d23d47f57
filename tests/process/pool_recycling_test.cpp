// SPDX-License-Identifier: BSD-3-Clause
// max_tasks_per_worker: tasks are counted, none is lost, and it is never a crash.
#include "troupe/this_process.hpp"

#include "pool_fixture.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

struct PoolRecycling : every_start_method {
 protected:
  [[nodiscard]] pool_options limited(int workers, int limit) const {
    pool_options made = options(workers);
    made.max_tasks_per_worker = limit;
    return made;
  }
};
TROUPE_FOR_EVERY_START_METHOD(PoolRecycling);

// Worker ids, unlike pids, are never reused.
std::uint64_t worker_of_task(int /*item*/) {
  return this_process::worker_id();
}

void expect_no_worker_ran_more_than(std::uint64_t limit, const std::vector<std::uint64_t>& ids) {
  std::map<std::uint64_t, std::uint64_t> runs;
  for (const std::uint64_t id : ids) {
    ++runs[id];
  }
  for (const auto& [id, count] : runs) {
    EXPECT_LE(count, limit) << "worker " << id;
  }
}

TEST_P(PoolRecycling, CountsTasksNotChunks) {
  for (const std::size_t chunk : {0U, 1U, 3U, 7U, 100U}) {
    SCOPED_TRACE("chunk " + std::to_string(chunk));
    pool p{limited(2, 3)};
    const auto ids = p.map(worker_of_task, std::views::iota(0, 40), {.chunk = chunk});
    EXPECT_EQ(ids.size(), 40U);
    expect_no_worker_ran_more_than(3, ids);
    EXPECT_EQ(p.stats().deaths, 0U);
    // The last two or three still have a task left; the others take a moment to leave.
    EXPECT_TRUE(eventually([&] { return p.stats().recycled + 3 >= 40U / 3; }));
  }
}

// Python: test_max_tasks_per_child.
TEST_P(PoolRecycling, ReplacesTheOneWorkerAfterItsLastTask) {
  pool p{limited(1, 3)};
  std::vector<std::uint64_t> ids;
  for (int i = 0; i < 10; ++i) {
    ids.push_back(p.apply(worker_of_task, i));
  }
  expect_no_worker_ran_more_than(3, ids);
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
  EXPECT_TRUE(eventually([&] { return p.stats().recycled == 3; }));
  EXPECT_EQ(p.stats().deaths, 0U);
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 1; }));
}

// bpo-10332: test_pool_worker_lifetime_early_close.
TEST_P(PoolRecycling, ALimitOfOneWithABacklogAndAnImmediateClose) {
  for (int round = 0; round < 3; ++round) {
    pool p{limited(3, 1)};
    std::vector<future<std::uint64_t>> all;
    for (int i = 0; i < 12; ++i) {
      all.push_back(p.apply_async(worker_of_task, i));
    }
    p.close();
    p.join();
    std::vector<std::uint64_t> ids;
    for (auto& f : all) {
      ASSERT_TRUE(f.ready());
      ids.push_back(f.get());
    }
    expect_no_worker_ran_more_than(1, ids);
    EXPECT_EQ(p.stats().deaths, 0U);
  }
}

// gh-115634: hangs in Python.
TEST_P(PoolRecycling, ABacklogIsWorkedOff) {
  for (const auto& [workers, tasks] : std::vector<std::pair<int, int>>{{1, 6}, {2, 8}, {2, 41}}) {
    SCOPED_TRACE(std::to_string(tasks) + " tasks, workers: " + std::to_string(workers));
    pool p{limited(workers, 2)};
    std::vector<future<std::uint64_t>> all;
    for (int i = 0; i < tasks; ++i) {
      all.push_back(p.apply_async(worker_of_task, i));
    }
    std::vector<std::uint64_t> ids;
    for (auto& f : all) {
      ids.push_back(f.get());
    }
    expect_no_worker_ran_more_than(2, ids);
    EXPECT_EQ(p.stats().deaths, 0U);
  }
}

TEST_P(PoolRecycling, TerminateInTheMiddleLetsNoReplacementEscape) {
  for (int round = 0; round < 5; ++round) {
    pool p{limited(2, 1)};
    std::vector<future<std::uint64_t>> all;
    for (int i = 0; i < 30; ++i) {
      all.push_back(p.apply_async(worker_of_task, i));
    }
    all[static_cast<std::size_t>(round)].wait();
    p.terminate();
    p.join();
    for (auto& f : all) {
      EXPECT_TRUE(f.ready());
    }
    EXPECT_TRUE(p.workers().empty());
  }
}

TEST_P(PoolRecycling, TasksThatAreCancelledWhileTheyWaitChangeNothing) {
  pool p{limited(1, 2)};
  const std::string gate = file("gate");
  std::vector<std::uint64_t> ids;
  auto first = p.apply_async(
      [](const std::string& running, const std::string& g) {
        wait_at(running, g);
        return this_process::worker_id();
      },
      file("running"), gate);
  std::vector<future<std::uint64_t>> behind;
  for (int i = 0; i < 10; ++i) {
    behind.push_back(p.apply_async(worker_of_task, i));
  }
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  for (std::size_t i = 0; i < behind.size(); i += 2) {
    static_cast<void>(behind[i].cancel());  // a replacement may have begun it already
  }
  mark(gate);
  ids.push_back(first.get());
  for (auto& f : behind) {
    f.wait();
    if (!f.cancelled()) {
      ids.push_back(f.get());
    }
  }
  EXPECT_GE(ids.size(), 6U);
  expect_no_worker_ran_more_than(2, ids);
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(PoolRecycling, ADeathAndALimitTogetherLoseOnlyWhatDied) {
  pool p{limited(2, 3)};
  int lost = 0;
  std::vector<future<int>> all;
  for (int i = 0; i < 40; ++i) {
    all.push_back(p.apply_async(
        [](int x) {
          if (x % 10 == 9) {
            ::_exit(7);
          }
          return x;
        },
        i));
  }
  for (int i = 0; i < 40; ++i) {
    try {
      EXPECT_EQ(all[static_cast<std::size_t>(i)].get(), i);
    } catch (const worker_lost&) {
      EXPECT_EQ(i % 10, 9);
      ++lost;
    }
  }
  EXPECT_EQ(lost, 4);
  EXPECT_EQ(p.stats().deaths, 4U);
}

TEST_P(PoolRecycling, AnInitializerThatFailsInAReplacementIsNotLost) {
  pool_options brittle = limited(1, 1);
  brittle.restart.start_attempts = 1;
  brittle.initializer = call(
      [](const std::string& started) {
        mark(started);
        if (marks(started) > 2) {
          throw std::domain_error{"no third one"};
        }
      },
      file("started"));
  pool p{brittle};
  std::vector<future<int>> all;
  int done = 0;
  int broken = 0;
  for (int i = 0; i < 10; ++i) {
    try {
      all.push_back(p.apply_async(square, i));
    } catch (const pool_broken&) {
      ++broken;  // it may break before the last one is submitted
    }
  }
  for (auto& f : all) {
    try {
      f.get();
      ++done;
    } catch (const pool_broken&) {
      ++broken;
    }
  }
  EXPECT_EQ(done + broken, 10);
  EXPECT_LE(done, 2);
  EXPECT_GT(broken, 0);
}

}  // namespace
}  // namespace troupe::test
