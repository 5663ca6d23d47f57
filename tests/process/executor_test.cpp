// SPDX-License-Identifier: BSD-3-Clause
// What executors add to the pools below them: maps over several ranges, and an orderly end.
#include "troupe/executor.hpp"

#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <atomic>
#include <csignal>
#include <future>
#include <latch>
#include <list>
#include <string>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

int bbox(int x1, int x2, int y1, int y2) {
  return (x2 - x1) * (y2 - y1);
}

int until_stopped(const std::string& running) {
  const auto token = this_task::stop_token();
  mark(running);
  return eventually([&] { return token.stop_requested(); }) ? 1 : 0;
}

int stubborn(const std::string& running) {
  std::signal(SIGTERM, SIG_IGN);
  mark(running);
  static_cast<void>(eventually([] { return false; }));
  return 0;
}

int leave_mark(const std::string& path, int item) {
  mark(path);
  return item;
}

template <class Executor>
class Executors : public pool_test {
 protected:
  static Executor make(int workers, std::chrono::milliseconds grace = 3s) {
    typename Executor::options how;
    how.workers = workers;
    how.grace = grace;
    return Executor{how};
  }
};
using both = testing::Types<process_pool_executor, thread_pool_executor>;
struct both_names {
  template <class Executor>
  static std::string GetName(int) {
    return std::is_same_v<Executor, thread_pool_executor> ? "threads" : "processes";
  }
};
TYPED_TEST_SUITE(Executors, both, both_names);

// ---- map ----------------------------------------------------------------------------------------

TYPED_TEST(Executors, MapOverFourRanges) {
  auto ex = this->make(2);
  const std::vector<int> x1s{0, 0, 0, 0};
  const std::vector<int> x2s{10, 10, 10, 20};
  const std::vector<int> y1s{0, 0, 0, 0};
  const std::list<int> y2s{10, 10, 10, 20};
  std::vector<int> areas;
  for (const int area : ex.map(bbox, x1s, x2s, y1s, y2s)) {
    areas.push_back(area);
  }
  EXPECT_EQ(areas, (std::vector{100, 100, 100, 400}));
}

TYPED_TEST(Executors, MapStopsAtTheShortestRange) {
  auto ex = this->make(2);
  std::vector<int> sums;
  for (const int sum : ex.map(add, std::views::iota(0), std::vector{1, 2, 3})) {
    sums.push_back(sum);
  }
  EXPECT_EQ(sums, (std::vector{1, 3, 5}));
  for (const int sum : ex.map(add, std::vector<int>{}, std::views::iota(0))) {
    ADD_FAILURE() << sum;
  }
}

TYPED_TEST(Executors, MapTakesItsOptionsFirst) {
  auto ex = this->make(2);
  int next = 0;
  for (const int sum :
       ex.map({.chunk = 16, .window = 64}, add, std::views::iota(0, 1000), std::views::iota(0))) {
    EXPECT_EQ(sum, 2 * next++);
  }
  EXPECT_EQ(next, 1000);
  std::vector<int> more;
  for (const int y : ex.with({.priority = 1}).map(square, std::vector{1, 2})) {
    more.push_back(y);
  }
  EXPECT_EQ(more, (std::vector{1, 4}));
}

TYPED_TEST(Executors, MapBeginsWithTheCall) {
  auto ex = this->make(1);
  int pulled = 0;
  auto input = std::views::iota(0) | std::views::transform([&](int i) {
                 pulled = i + 1;
                 return i;
               });
  const std::vector<std::string> paths(100, this->file("ran"));
  auto results = ex.map({.chunk = 1, .window = 5}, leave_mark, paths, input);
  EXPECT_EQ(pulled, 5) << "exactly as many as the window, and nothing was taken";
  EXPECT_TRUE(eventually([&] { return marks(this->file("ran")) == 5; }));
  EXPECT_EQ(pulled, 5);
}

TYPED_TEST(Executors, MapOfAFunctionThatReturnsNothingWaits) {
  auto ex = this->make(2);
  ex.map([](const std::string& path) { mark(path); },
         std::vector<std::string>(20, this->file("ran")));
  EXPECT_EQ(marks(this->file("ran")), 20U);
}

TYPED_TEST(Executors, MapThatTimesOutCancelsWhatHasNotBegun) {
  auto ex = this->make(1);
  const auto held = ex.submit(wait_at, this->file("held"), this->file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("held")) > 0; }));
  {
    auto results = ex.map({.chunk = 1, .timeout = 0ms}, leave_mark,
                          std::vector<std::string>(4, this->file("ran")), std::views::iota(0));
    EXPECT_THROW(results.begin(), timeout_error);
  }
  mark(this->file("gate"));
  ex.shutdown();
  EXPECT_EQ(marks(this->file("ran")), 0U);
}

TYPED_TEST(Executors, MapThrowsFromTheIncrementWhenItsTimeIsOver) {
  auto ex = this->make(2);
  auto results = ex.map(
      {.chunk = 1, .timeout = 200ms},
      [](const std::string& running, const std::string& gate, int i) {
        return i < 2 ? i : wait_at(running, gate);
      },
      std::vector<std::string>(3, this->file("held")),
      std::vector<std::string>(3, this->file("gate")), std::views::iota(0));
  int taken = 0;
  try {
    for (const int y : results) {
      EXPECT_EQ(y, taken++);
    }
    ADD_FAILURE() << "nothing was thrown";
  } catch (const timeout_error&) {
  }
  EXPECT_LE(taken, 2);
  mark(this->file("gate"));
}

// ---- the end ------------------------------------------------------------------------------------

TYPED_TEST(Executors, ShutdownWaitsForAllAndTellsHowMany) {
  auto ex = this->make(2);
  std::vector<future<int>> futures;
  const auto held = ex.submit(wait_at, this->file("held"), this->file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("held")) > 0; }));
  ex.submit(wait_at, this->file("held 2"), this->file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("held 2")) > 0; }));
  for (int i = 0; i < 10; ++i) {
    futures.push_back(ex.submit(square, i));
  }
  std::jthread opener{[&] {
    static_cast<void>(futures.back().wait_for(10ms));
    mark(this->file("gate"));
  }};
  const shutdown_report report = ex.shutdown();
  EXPECT_TRUE(report.complete);
  EXPECT_EQ(report.drained, 12U);
  EXPECT_EQ(report.cancelled, 0U);
  EXPECT_EQ(report.killed_workers, 0U);
  for (const auto& f : futures) {
    EXPECT_TRUE(f.ready());
  }
  EXPECT_TRUE(ex.workers().empty());
}

TYPED_TEST(Executors, CancelPendingDropsWhatHasNotBegun) {
  auto ex = this->make(1);
  const auto held = ex.submit(wait_at, this->file("held"), this->file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("held")) > 0; }));
  std::vector<future<int>> queued;
  for (int i = 0; i < 5; ++i) {
    queued.push_back(ex.submit(leave_mark, this->file("ran"), i));
  }
  const auto report = ex.shutdown({.cancel_pending = true, .wait = false});
  EXPECT_FALSE(report.complete);
  EXPECT_EQ(report.cancelled, 5U);
  for (const auto& f : queued) {
    EXPECT_TRUE(f.cancelled());
  }
  EXPECT_FALSE(held.ready());
  EXPECT_THROW(ex.submit(square, 1), pool_closed);
  mark(this->file("gate"));
  EXPECT_TRUE(ex.shutdown().complete) << "a second time, now waiting";
  EXPECT_EQ(held.get(), 1);
  EXPECT_EQ(marks(this->file("ran")), 0U);
}

TYPED_TEST(Executors, ShutdownWithoutWaitingLosesNothing) {
  std::vector<future<int>> futures;
  {
    auto ex = this->make(1);
    futures.push_back(ex.submit(wait_at, this->file("held"), this->file("gate")));
    ASSERT_TRUE(eventually([&] { return marks(this->file("held")) > 0; }));
    for (int i = 0; i < 5; ++i) {
      futures.push_back(ex.submit(leave_mark, this->file("ran"), 1));
    }
    ex.shutdown({.wait = false});
    mark(this->file("gate"));
  }
  for (const auto& f : futures) {
    EXPECT_EQ(f.get(), 1);
  }
  EXPECT_EQ(marks(this->file("ran")), 5U);
}

TYPED_TEST(Executors, TheDestructorWaitsForAll) {
  future<int> last;
  {
    auto ex = this->make(2);
    for (int i = 0; i < 50; ++i) {
      last = ex.submit(leave_mark, this->file("ran"), i);
    }
  }
  EXPECT_EQ(last.get(), 49);
  EXPECT_EQ(marks(this->file("ran")), 50U);
}

TYPED_TEST(Executors, LeavingAScopeByAnExceptionDropsWhatHasNotBegun) {
  std::vector<future<int>> queued;
  future<int> held;
  std::jthread opener;
  try {
    auto ex = this->make(1);
    held = ex.submit(wait_at, this->file("held"), this->file("gate"));
    ASSERT_TRUE(eventually([&] { return marks(this->file("held")) > 0; }));
    for (int i = 0; i < 5; ++i) {
      queued.push_back(ex.submit(leave_mark, this->file("ran"), i));
    }
    opener = std::jthread{[&] {
      queued.back().wait();
      mark(this->file("gate"));
    }};
    throw std::domain_error{"out"};
  } catch (const std::domain_error&) {
  }
  EXPECT_EQ(held.get(), 1) << "what runs is waited for";
  for (const auto& f : queued) {
    EXPECT_THROW(f.get(), cancelled_error);
  }
  EXPECT_EQ(marks(this->file("ran")), 0U);
}

TYPED_TEST(Executors, AnExecutorThatIsMadeWhileAnExceptionUnwindsWaitsAllTheSame) {
  struct at_scope_exit {
    std::string path;
    ~at_scope_exit() {
      typename TypeParam::options how;
      how.workers = 1;
      TypeParam ex{how};
      for (int i = 0; i < 10; ++i) {
        ex.submit(leave_mark, path, i);
      }
    }
  };
  try {
    const at_scope_exit after{this->file("ran")};
    throw std::domain_error{"out"};
  } catch (const std::domain_error&) {
  }
  EXPECT_EQ(marks(this->file("ran")), 10U);
}

TYPED_TEST(Executors, ADeadlineThatIsKeptChangesNothing) {
  auto ex = this->make(2);
  const auto f = ex.submit(square, 3);
  const auto report = ex.shutdown({.deadline = 1h});
  EXPECT_TRUE(report.complete);
  EXPECT_EQ(report.cancelled, 0U);
  EXPECT_EQ(report.terminated_workers, 0U);
  EXPECT_EQ(f.get(), 9);
}

TYPED_TEST(Executors, AfterTheDeadlineTasksAreAskedToStopFirst) {
  auto ex = this->make(1, 1h);
  const auto f = ex.submit(until_stopped, this->file("running"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("running")) > 0; }));
  auto queued = ex.submit(square, 3);
  const auto report = ex.shutdown({.deadline = 5ms});
  EXPECT_TRUE(report.complete);
  EXPECT_EQ(f.get(), 1) << "it listened, and kept its result";
  EXPECT_TRUE(queued.cancelled());
  EXPECT_EQ(report.drained, 1U);
  EXPECT_EQ(report.cancelled, 1U);
  EXPECT_EQ(report.terminated_workers, 0U);
  EXPECT_EQ(report.killed_workers, 0U);
}

TYPED_TEST(Executors, ADeadlineWithoutWaitingIsKeptInTheBackground) {
  auto ex = this->make(1, 1h);
  const auto f = ex.submit(until_stopped, this->file("running"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("running")) > 0; }));
  EXPECT_FALSE(ex.shutdown({.wait = false, .deadline = 5ms}).complete);
  EXPECT_EQ(f.get(), 1);
}

TYPED_TEST(Executors, TerminateWorkersEndsEveryFuture) {
  auto ex = this->make(1);
  const auto running = ex.submit(until_stopped, this->file("running"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("running")) > 0; }));
  const auto queued = ex.submit(square, 3);
  ex.terminate_workers();
  EXPECT_THROW(queued.get(), cancelled_error);
  running.wait();
  EXPECT_THROW(ex.submit(square, 1), pool_closed);
}

TYPED_TEST(Executors, SubmissionsFromCallbacksAfterShutdownAreRefusedNotLost) {
  auto ex = this->make(1);
  const auto held = ex.submit(wait_at, this->file("held"), this->file("gate"));
  std::atomic<bool> refused{false};
  held.on_done([&](const future<int>&) {
    try {
      ex.submit(square, 1);
    } catch (const pool_closed&) {
      refused = true;
    }
  });
  ex.shutdown({.wait = false});
  mark(this->file("gate"));
  ex.shutdown();
  EXPECT_TRUE(refused);
}

// ---- of processes alone -------------------------------------------------------------------------

struct ProcessExecutor : pool_test {};

TEST_F(ProcessExecutor, AfterTheDeadlineTheLadderEndsWithSigkill) {
  process_pool_executor ex{{.workers = 1, .grace = 20ms}};
  const auto f = ex.submit(stubborn, file("running"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  const auto report = ex.shutdown({.deadline = 1ms});
  EXPECT_TRUE(report.complete);
  EXPECT_EQ(report.terminated_workers, 1U);
  EXPECT_EQ(report.killed_workers, 1U);
  EXPECT_THROW(f.get(), cancelled_error);
}

TEST_F(ProcessExecutor, KillWorkersEndsThemAtOnce) {
  process_pool_executor ex{{.workers = 2, .grace = 1h}};
  const auto f = ex.submit(stubborn, file("running"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  const auto queued = ex.submit(square, 3);
  ex.kill_workers();
  EXPECT_THROW(f.get(), cancelled_error);
  queued.wait();
  EXPECT_TRUE(ex.shutdown().complete);
}

TEST_F(ProcessExecutor, AWorkersDeathFailsOneTask) {
  process_pool_executor ex{{.workers = 2}};
  const auto dies = ex.submit([] { ::_exit(99); });
  const auto lives = ex.submit(square, 3);
  try {
    dies.get();
    FAIL() << "nothing was thrown";
  } catch (const worker_lost& thrown) {
    EXPECT_NE(std::string{thrown.what()}.find("exit code 99"), std::string::npos) << thrown.what();
  }
  EXPECT_EQ(lives.get(), 9);
  EXPECT_EQ(ex.submit(square, 4).get(), 16);
}

// ---- of threads alone ---------------------------------------------------------------------------

struct ThreadExecutor : Executors<thread_pool_executor> {};

TEST_F(ThreadExecutor, ATaskThatNeverListensIsReportedAfterTheDeadline) {
  std::promise<void> gate;
  std::promise<void> begun;
  thread_pool_executor ex{{.workers = 1, .grace = 5ms}};  // the task outlives its future
  const auto f = ex.submit([&] {
    begun.set_value();
    gate.get_future().wait();
  });
  begun.get_future().wait();
  const auto report = ex.shutdown({.deadline = 1ms});
  EXPECT_FALSE(report.complete);
  EXPECT_EQ(report.cancelled, 1U);
  EXPECT_THROW(f.get(), cancelled_error);
  gate.set_value();
}

TEST_F(ThreadExecutor, KillWorkersEndsTheFutures) {
  std::promise<void> gate;
  std::promise<void> begun;
  thread_pool_executor ex{{.workers = 1, .grace = 1h}};  // the task outlives its future
  const auto f = ex.submit([&] {
    begun.set_value();
    gate.get_future().wait();
  });
  begun.get_future().wait();
  ex.kill_workers();
  EXPECT_THROW(f.get(), cancelled_error);
  gate.set_value();
}

TEST_F(ThreadExecutor, ShutdownInATaskMustNotWait) {
  thread_pool_executor ex{{.workers = 1}};
  EXPECT_TRUE(ex.submit([&] {
                  return static_cast<bool>(
                      fails_with(errc::would_deadlock, [&] { return ex.shutdown(); }));
                }).get());
  ex.submit([&] { ex.shutdown({.wait = false}); }).get();
  EXPECT_THROW(ex.submit(square, 1), pool_closed);
}

}  // namespace
}  // namespace troupe::test
