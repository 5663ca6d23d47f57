// SPDX-License-Identifier: BSD-3-Clause
// Reports of tasks on their way, and counters that can be read at any time.
#include "troupe/executor.hpp"
#include "troupe/progress_bar.hpp"
#include "troupe/this_task.hpp"
#include "troupe/thread_pool.hpp"

#include "pool_fixture.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

struct Progress : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(Progress);

int reports_and_waits(const std::string& running, const std::string& gate) {
  this_task::progress(3, 10, "frame 3\nof 10");
  return wait_at(running, gate);
}

int reports_often(int n) {
  for (int i = 1; i <= n; ++i) {
    this_task::progress(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(n));
  }
  return n;
}

TEST_P(Progress, IsSeenWhileTheTaskRuns) {
  pool p{options(1)};
  auto f = p.apply_async(reports_and_waits, file("running"), file("gate"));
  EXPECT_TRUE(eventually([&] { return f.progress().has_value(); }));
  EXPECT_EQ(f.progress(), (task_progress{3, 10, "frame 3\nof 10"}));
  EXPECT_TRUE(f.running());
  mark(file("gate"));
  EXPECT_EQ(f.get(), 1);
  EXPECT_EQ(f.progress()->done, 3U);
}

/// What a bar over `target` writes to a file, while a map of twenty items runs.
template <class Target, class Map>
std::string bar_over(Target& target, const std::string& path, const Map& map) {
  const int to = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  {
    const progress_bar bar{target, {.interval = 1h, .descriptor = to}};
    map();
  }
  ::close(to);
  std::ifstream file{path};
  return {std::istreambuf_iterator<char>{file}, {}};
}

TEST_P(Progress, ABarShowsAPoolAThreadPoolOrAnExecutor) {
  const auto numbers = std::views::iota(0, 20);
  pool processes{options(1)};
  EXPECT_NE(bar_over(processes, file("bar"), [&] { processes.map(square, numbers); }).find("20/20"),
            std::string::npos);
  thread_pool threads{{.workers = 1}};
  EXPECT_NE(bar_over(threads, file("bar"), [&] { threads.map(square, numbers); }).find("20/20"),
            std::string::npos);
  thread_pool_executor executor{{.workers = 1}};
  EXPECT_NE(bar_over(executor, file("bar"),
                     [&] {
                       for ([[maybe_unused]] const int y : executor.map(square, numbers)) {
                       }
                     })
                .find("20/20"),
            std::string::npos);
}

TEST_P(Progress, IsNothingBeforeTheFirstReport) {
  pool p{options(1)};
  auto f = p.apply_async(square, 3);
  f.wait();
  EXPECT_EQ(f.progress(), std::nullopt);
}

TEST_P(Progress, CallbacksSeeTheLastReportAndNeverGoBack) {
  pool p{options(1)};
  std::vector<std::uint64_t> seen;
  auto gate = p.apply_async(wait_at, file("running"), file("gate"));
  auto f = p.apply_async(reports_often, 200'000);
  f.on_progress([&](const task_progress& now) { seen.push_back(now.done); });
  mark(file("gate"));
  EXPECT_EQ(f.get(), 200'000);
  p.close();
  p.join();
  ASSERT_FALSE(seen.empty());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.back(), 200'000U);
  EXPECT_LT(seen.size(), 100'000U);  // most of them were never sent
}

TEST_P(Progress, ACallbackThatThrowsHarmsNoOther) {
  pool p{options(1)};
  auto gate = p.apply_async(wait_at, file("running"), file("gate"));
  auto f = p.apply_async(reports_often, 5);
  f.on_progress([](const task_progress&) { throw std::runtime_error{"the callback"}; });
  mark(file("gate"));
  EXPECT_EQ(f.get(), 5);
}

TEST_P(Progress, ALongTextIsCutOff) {
  pool p{options(1)};
  auto f = p.apply_async([] { this_task::progress(1, 1, std::string(100'000, 'x')); });
  f.wait();
  ASSERT_TRUE(f.progress().has_value());
  EXPECT_EQ(f.progress()->text, std::string(200, 'x'));
}

TEST_P(Progress, OutsideOfATaskItDoesNothing) {
  this_task::progress(1, 2, "outside of a task");
}

TEST_P(Progress, OfAMapCountsItems) {
  pool p{options(2)};
  auto f = p.map_async(square, std::views::iota(0, 5000));
  f.wait();
  ASSERT_TRUE(f.progress().has_value());
  EXPECT_EQ(f.progress()->done, 5000U);
  EXPECT_EQ(f.progress()->total, 5000U);
}

TEST_P(Progress, CountersAreExactWhenAFutureIsReady) {
  pool p{options(2)};
  for (std::uint64_t i = 1; i <= 300; ++i) {
    EXPECT_EQ(p.apply(square, 2), 4);
    EXPECT_EQ(p.stats().succeeded, i);
  }
  EXPECT_THROW(p.apply([] { throw std::runtime_error{"no"}; }), std::runtime_error);
  EXPECT_EQ(p.stats().failed, 1U);
  EXPECT_THROW(p.apply([] { ::raise(SIGKILL); }), worker_lost);
  EXPECT_EQ(p.stats().failed, 2U);
  EXPECT_EQ(p.stats().deaths, 1U);
  EXPECT_EQ(p.stats().submitted, 302U);
}

}  // namespace
}  // namespace troupe::test
