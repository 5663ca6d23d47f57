// SPDX-License-Identifier: BSD-3-Clause
// What pools of processes and thread pools promise alike of their workers: how many there are, and which of them runs what.
#include "conformance_fixture.hpp"

#include <unistd.h>

#include <map>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

template <class Kind>
struct Sizing : conformance_suite<Kind> {};
TYPED_TEST_SUITE(Sizing, pools, pool_names);

template <class Kind>
struct Affinity : conformance_suite<Kind> {};
TYPED_TEST_SUITE(Affinity, pools, pool_names);

/// Which thread runs it, of whatever process.
std::int64_t worker_here() {
  return ::gettid();
}

const auto up_to_four = [](auto& options) {
  options.min_workers = 1;
  options.max_workers = 4;
};

// ---- elastic pools ------------------------------------------------------------------------------

TROUPE_CONFORMANCE(Sizing, AnElasticPoolStartsSmallAndGrowsWithItsQueue) {
  auto p = self.make_with(up_to_four);
  EXPECT_EQ(p.workers().size(), 1U);
  std::vector<future<int>> running;
  for (int i = 0; i < 6; ++i) {
    running.push_back(p.apply_async(wait_at, self.file("running"), self.file("gate")));
  }
  EXPECT_TRUE(eventually([&] { return marks(self.file("running")) == 4; }));
  EXPECT_EQ(p.workers().size(), 4U);
  EXPECT_EQ(p.stats().queued, 2U);
  self.open_gate();
  for (auto& f : running) {
    EXPECT_EQ(f.get(), 1);
  }
  EXPECT_EQ(p.stats().workers, 4U);
}

TROUPE_CONFORMANCE(Sizing, AnElasticPoolLetsIdleWorkersGo) {
  auto p = self.make_with([](auto& options) {
    up_to_four(options);
    options.idle_timeout = 1ms;
  });
  for (const char* round : {"1", "2", "3"}) {
    const std::string running = self.file("running") + round;
    const std::string gate = self.file("gate") + round;
    std::vector<future<int>> all;
    for (int i = 0; i < 4; ++i) {
      all.push_back(p.apply_async(wait_at, running, gate));
    }
    ASSERT_TRUE(eventually([&] { return marks(running) == 4; }));
    mark(gate);
    for (auto& f : all) {
      EXPECT_EQ(f.get(), 1);
    }
    EXPECT_TRUE(eventually([&] { return p.workers().size() == 1; }));
  }
  EXPECT_EQ(p.stats().succeeded, 12U) << "of workers that left too";
  EXPECT_EQ(p.stats().deaths, 0U);
  EXPECT_EQ(p.map(square, std::views::iota(0, 100)).size(), 100U) << "it can grow again";
}

TROUPE_CONFORMANCE(Sizing, OneTaskAfterTheOtherNeedsOneWorker) {
  auto p = self.make_with(up_to_four);
  std::set<std::int64_t> workers;
  for (int i = 0; i < 200; ++i) {
    workers.insert(p.apply(worker_here));
  }
  EXPECT_EQ(workers.size(), 1U);
}

TROUPE_CONFORMANCE(Sizing, BoundsOutOfRangeAreRefused) {
  for (const auto& [least, most] :
       std::vector<std::pair<int, int>>{{0, 4}, {5, 4}, {1, 5000}, {-1, 2}}) {
    EXPECT_THROW(self.make_with([&](auto& options) {
      options.min_workers = least;
      options.max_workers = most;
    }),
                 std::invalid_argument)
        << least << " " << most;
  }
  EXPECT_THROW(self.make_with([](auto& options) {
    up_to_four(options);
    options.idle_timeout = -1ms;
  }),
               std::invalid_argument);
}

TROUPE_CONFORMANCE(Sizing, JoinBeforeCloseIsALogicError) {
  auto p = self.make();
  EXPECT_THROW(p.join(), std::logic_error);
  EXPECT_EQ(p.apply(square, 3), 9);
  p.close();
  p.join();
}

// ---- affinity -----------------------------------------------------------------------------------

TROUPE_CONFORMANCE(Affinity, TheSameKeyGoesToTheSameWorker) {
  auto p = self.make({.workers = 3});
  std::map<std::string, std::set<std::int64_t>> workers;
  std::vector<std::pair<std::string, future<std::int64_t>>> results;
  for (int i = 0; i < 1000; ++i) {
    const std::string key = "key " + std::to_string(i % 5);
    results.emplace_back(key, p.with({.affinity = key}).apply_async(worker_here));
    results.emplace_back("", p.apply_async(worker_here));
  }
  for (auto& [key, f] : results) {
    workers[key].insert(f.get());
  }
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(workers["key " + std::to_string(i)].size(), 1U);
  }
  std::set<std::int64_t> of_map;
  for (const std::int64_t worker :
       p.with({.affinity = "m"}).map([](int) { return worker_here(); }, std::views::iota(0, 500))) {
    of_map.insert(worker);
  }
  EXPECT_EQ(of_map.size(), 1U);
}

TROUPE_CONFORMANCE(Affinity, ABoundTaskWaitsForItsBusyWorkerWhileOthersGoOn) {
  auto p = self.make();
  const task_options keyed{.affinity = "k"};
  auto busy = p.with(keyed).apply_async(wait_at, self.file("running"), self.file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(self.file("running")) > 0; }));
  auto bound = p.with(keyed).apply_async(worker_here);
  std::set<std::int64_t> others;
  for (int i = 0; i < 50; ++i) {
    others.insert(p.apply(worker_here));
  }
  EXPECT_EQ(others.size(), 1U);
  EXPECT_FALSE(bound.ready());
  self.open_gate();
  EXPECT_EQ(others.count(bound.get()), 0U);
  EXPECT_EQ(busy.get(), 1);
}

TROUPE_CONFORMANCE(Affinity, CancelAndTerminateReachWhatWaitsForItsWorker) {
  auto p = self.make();
  const task_options keyed{.affinity = "k"};
  auto busy = p.with(keyed).apply_async(wait_at, self.file("running"), self.file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(self.file("running")) > 0; }));
  auto one = p.with(keyed).apply_async(worker_here);
  auto other = p.with(keyed).apply_async(worker_here);
  EXPECT_TRUE(one.cancel());
  EXPECT_EQ(p.stats().queued, 1U);
  p.terminate();
  EXPECT_TRUE(other.cancelled());
  self.open_gate();
  p.join();
  EXPECT_TRUE(busy.ready());
}

}  // namespace
}  // namespace troupe::test
