// SPDX-License-Identifier: BSD-3-Clause
// How many workers a pool has, which of them go, and how it ends: its supervisor without processes.
#include "support/fake_pool.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

using namespace std::chrono_literals;

class SupervisorSizing : public FakePool {
 protected:
  [[nodiscard]] std::size_t size() { return host_->workers().size(); }
  /// The only worker runs three, so that the next tasks are sent ahead to it.
  void run_short_tasks() {
    for (int i = 0; i < 3; ++i) {
      submit("short");
      ASSERT_EQ(claims(worker(0)), "short");
      gives(worker(0), 1us);
    }
  }
};

TEST_F(SupervisorSizing, AnElasticPoolDoublesWhileTasksWait) {
  make({.min_workers = 1, .max_workers = 5});
  ASSERT_EQ(size(), 1U);
  for (int i = 0; i < 40; ++i) {
    submit("x");
  }
  EXPECT_EQ(size(), 2U) << "it waits for the first one";
  host_->come_up();
  EXPECT_EQ(size(), 4U);
  host_->come_up();
  EXPECT_EQ(size(), 5U);
  host_->come_up();
  EXPECT_EQ(size(), 5U);
}

// They were short so far, so all were sent ahead to the only worker, and nothing waited that the pool
// could have grown for.
TEST_F(SupervisorSizing, AnElasticPoolGrowsForWhatWaitsBehindALongTask) {
  make({.min_workers = 1, .max_workers = 3});
  ASSERT_NO_FATAL_FAILURE(run_short_tasks());
  for (int i = 0; i < 3; ++i) {
    submit("long");
  }
  ASSERT_EQ(claims(worker(0)), "long");
  ASSERT_EQ(size(), 1U);
  host_->advance(5ms);
  host_->come_up();
  host_->advance(5ms);
  host_->come_up();
  ASSERT_EQ(size(), 3U);
  EXPECT_EQ(claims(worker(1)), "long");
  EXPECT_EQ(claims(worker(2)), "long");
}

// It was sent all of them again each millisecond, until its ring was full.
TEST_F(SupervisorSizing, AnElasticPoolGrowsForWhatAWorkerDoesNotBegin) {
  make({.min_workers = 1, .max_workers = 3});
  ASSERT_NO_FATAL_FAILURE(run_short_tasks());
  for (int i = 0; i < 3; ++i) {
    submit("x");
  }
  for (int i = 0; i < 50; ++i) {
    host_->advance(1ms);
  }
  host_->come_up();
  host_->advance(5ms);
  host_->come_up();
  EXPECT_GE(size(), 2U);
  EXPECT_EQ(claims(worker(1)), "x");
  worker(0).read();
  EXPECT_LE(worker(0).waiting(), 6U);
  EXPECT_EQ(claims(worker(0)), "x");
  gives(worker(0), 1us);
  submit(std::vector<std::string>(2, "y"));
  worker(0).read();
  EXPECT_GE(worker(0).waiting(), 1U) << "it is sent more again";
}

TEST_F(SupervisorSizing, AnElasticPoolLetsIdleWorkersGo) {
  make({.min_workers = 1, .max_workers = 3, .idle_timeout = 100ms});
  for (int i = 0; i < 20; ++i) {
    submit("x");
  }
  let_all_work();
  ASSERT_EQ(size(), 3U);
  host_->advance(99ms);
  let_all_work();
  EXPECT_EQ(size(), 3U);
  host_->advance(200ms);
  let_all_work();
  EXPECT_EQ(size(), 1U);
  EXPECT_EQ(pool_->stats().retired, 2U);
}

TEST_F(SupervisorSizing, AWorkerIsReplacedAfterItsTasksAndItsReplacementIsThereFirst) {
  make({.workers = 1, .max_tasks_per_worker = 2});
  const std::uint64_t old = worker(0).id();
  submit("a");
  submit("b");
  const auto third = submit("c");
  for (int i = 0; i < 2; ++i) {
    ASSERT_NE(claims(worker(0)), "");
    gives(worker(0));
  }
  ASSERT_EQ(size(), 2U);
  worker(0).read();
  EXPECT_FALSE(worker(0).told_to_stop());
  EXPECT_EQ(worker(0).waiting(), 0U);
  host_->come_up();
  worker(0).read();
  EXPECT_TRUE(worker(0).told_to_stop());
  let_all_work();
  EXPECT_EQ(value(third), "c");
  EXPECT_EQ(size(), 1U);
  EXPECT_NE(worker(0).id(), old);
  EXPECT_EQ(pool_->stats().recycled, 1U);
}

// It was put back into the queue behind the dispatch of that turn, and nothing began another one.
TEST_F(SupervisorSizing, WhatWaitedForAWorkerThatHasDoneEnoughGoesToAnotherAtOnce) {
  make({.workers = 2, .max_tasks_per_worker = 2});
  for (const char* const item : {"a", "b", "c"}) {
    submit(item, {.affinity = "cat"});
  }
  const std::size_t at = claims(worker(0)).empty() ? 1 : 0;
  if (at == 1) {
    ASSERT_EQ(claims(worker(1)), "a");
  }
  fake_worker& other = worker(1 - at);
  ASSERT_EQ(claims(other), "");
  gives(worker(at));
  ASSERT_EQ(claims(worker(at)), "b");
  EXPECT_EQ(claims(other), "c");
}

TEST_F(SupervisorSizing, AWorkerIsReplacedWhenItIsOldBetweenTasks) {
  make({.workers = 1, .max_worker_age = 100ms});
  const auto task = submit("a");
  claims(worker(0));
  host_->advance(150ms);
  host_->come_up();
  worker(0).read();
  EXPECT_FALSE(worker(0).told_to_stop()) << "it still runs its task";
  gives(worker(0));
  EXPECT_EQ(value(task), "a");
  let_all_work();
  EXPECT_EQ(pool_->stats().recycled, 1U);
  EXPECT_EQ(size(), 1U);
}

// All were replaced at the same time, and while the initializer ran no worker took a task.
TEST_F(SupervisorSizing, OldWorkersWorkUntilTheirSuccessorsAreReady) {
  make({.workers = 2, .max_worker_age = 100ms});
  const std::vector<std::uint64_t> old{worker(0).id(), worker(1).id()};
  host_->advance(100ms);
  ASSERT_EQ(size(), 4U) << "both successors start";
  const auto first = submit("a");
  const auto second = submit("b");
  for (const std::size_t at : {0U, 1U}) {
    EXPECT_NE(claims(worker(at)), "") << "worker " << at;
    gives(worker(at));
  }
  EXPECT_EQ(value(first), "a");
  EXPECT_EQ(value(second), "b");
  worker(2).come_up();
  host_->run();
  worker(0).read();
  EXPECT_TRUE(worker(0).told_to_stop()) << "one may go for the one that is ready";
  worker(1).read();
  EXPECT_FALSE(worker(1).told_to_stop());
  let_all_work();
  EXPECT_EQ(size(), 2U);
  for (const std::size_t at : {0U, 1U}) {
    EXPECT_NE(worker(at).id(), old[at]);
  }
  EXPECT_EQ(pool_->stats().recycled, 2U);
}

TEST_F(SupervisorSizing, WorkersThatBeginTogetherAreNotReplacedTogether) {
  make({.workers = 2, .max_tasks_per_worker = 8});
  for (int round = 0; round < 4; ++round) {
    submit("a");
    submit("b");
    for (const std::size_t at : {0U, 1U}) {
      ASSERT_NE(claims(worker(at)), "");
      gives(worker(at));
    }
  }
  ASSERT_EQ(size(), 3U) << "the successor of one of them starts";
  const auto task = submit("c");
  EXPECT_EQ(claims(worker(0)), "c") << "the other one works meanwhile";
  gives(worker(0));
  EXPECT_EQ(value(task), "c");
}

// Its task was taken back from it, and from its successor, and so on: on a busy machine nothing ran.
TEST_F(SupervisorSizing, AWorkerThatIsOldBeforeItBeginsRunsATaskFirst) {
  make({.workers = 1, .max_worker_age = 10ms});
  const std::uint64_t first = worker(0).id();
  const auto task = submit("a");
  host_->advance(25ms);
  host_->come_up();
  worker(0).read();
  ASSERT_EQ(worker(0).id(), first);
  EXPECT_FALSE(worker(0).told_to_stop());
  EXPECT_EQ(claims(worker(0)), "a");
  gives(worker(0));
  EXPECT_EQ(value(task), "a");
  host_->advance(10ms);
  let_all_work();
  EXPECT_EQ(pool_->stats().recycled, 1U);
}

// It was replaced while the second one started, and that one while its replacement did: the pool's
// constructor did not return.
TEST_F(SupervisorSizing, WorkersDoNotGrowOldWhileOthersOfTheirPoolStart) {
  begin({.workers = 2, .max_worker_age = 10ms});
  worker(0).come_up();
  host_->run();
  host_->advance(35ms);
  ASSERT_EQ(size(), 2U);
  worker(1).come_up();
  host_->run();
  const auto task = submit("a");
  ASSERT_EQ(size(), 2U);
  for (const std::size_t at : {0U, 1U}) {
    if (claims(worker(at)) == "a") {
      gives(worker(at));
    }
  }
  EXPECT_EQ(value(task), "a");
}

TEST_F(SupervisorSizing, AWorkerThatIsBornTooLargeRunsATaskFirst) {
  make({.workers = 1, .max_worker_rss = 1000});
  for (std::int64_t id = 1; id < 20; ++id) {
    host_->set_resident_bytes(100'000 + id, 1001);
  }
  host_->advance(1s);
  EXPECT_EQ(size(), 1U);
  const auto task = submit("a");
  let_all_work();
  EXPECT_EQ(value(task), "a");
  EXPECT_EQ(pool_->stats().recycled, 1U);
}

TEST_F(SupervisorSizing, AWorkerThatHoldsTooMuchMemoryIsReplacedAfterATask) {
  make({.workers = 1, .max_worker_rss = 1000});
  submit("a");
  works(worker(0));
  host_->advance(1s);
  EXPECT_EQ(size(), 1U);
  host_->set_resident_bytes(worker(0).pid(), 1001);
  submit("b");
  works(worker(0));
  EXPECT_EQ(size(), 2U);
  let_all_work();
  EXPECT_EQ(pool_->stats().recycled, 1U);
}

TEST_F(SupervisorSizing, ResizingStartsAndLetsGoOfWorkers) {
  make({.workers = 2});
  pool_->resize(4);
  EXPECT_EQ(size(), 4U);
  let_all_work();
  const auto task = submit("a");
  pool_->resize(1);
  let_all_work();
  EXPECT_EQ(size(), 1U);
  EXPECT_EQ(value(task), "a");
  EXPECT_EQ(pool_->stats().deaths, 0U);
}

TEST_F(SupervisorSizing, AResizedPoolGivesUpWhatWasSentAheadToASurplusWorker) {
  make({.workers = 2});
  std::vector<submitted> tasks;
  for (int i = 0; i < 4; ++i) {
    tasks.push_back(submit("x"));
  }
  claims(worker(0));
  pool_->resize(1);
  let_all_work();
  for (const auto& task : tasks) {
    EXPECT_EQ(value(task), "x");
  }
}

TEST_F(SupervisorSizing, ACloseFinishesWhatThereIs) {
  make({.workers = 2});
  const auto task = submit({"a", "b", "c"});
  pool_->close();
  EXPECT_THROW(submit("d"), pool_closed);
  EXPECT_FALSE(finished());
  let_all_work();
  EXPECT_TRUE(finished());
  EXPECT_EQ(value(task, 2), "c");
  EXPECT_EQ(size(), 0U);
}

TEST_F(SupervisorSizing, AClosedPoolReplacesAWorkerWhileWorkIsLeft) {
  make({.workers = 1});
  submit("a");
  const auto second = submit("b");
  claims(worker(0));
  pool_->close();
  dies(worker(0));
  let_all_work();
  EXPECT_EQ(value(second), "b");
  EXPECT_TRUE(finished());
}

TEST_F(SupervisorSizing, AWorkerThatDoesNotLeaveIsKilledAfterTheGraceTime) {
  make({.workers = 1, .grace = 100ms});
  pool_->close();
  worker(0).read();
  EXPECT_TRUE(worker(0).told_to_stop());
  host_->advance(99ms);
  EXPECT_FALSE(worker(0).got(SIGKILL));
  host_->advance(1ms);
  EXPECT_TRUE(worker(0).got(SIGKILL));
  let_killed_die();
  EXPECT_TRUE(finished());
}

TEST_F(SupervisorSizing, TerminateCancelsWhatWaitsAndEndsWorkersByTheLadder) {
  make({.workers = 1, .grace = 100ms});
  const auto running = submit("a");
  const auto waiting = submit("b");
  claims(worker(0));
  pool_->terminate();
  EXPECT_EQ(code(waiting), errc::cancelled);
  EXPECT_EQ(value(running), "pending");
  worker(0).read();
  EXPECT_EQ(worker(0).asked_to_stop().size(), 1U);
  EXPECT_TRUE(worker(0).got(SIGTERM));
  EXPECT_FALSE(worker(0).got(SIGKILL));
  host_->advance(100ms);
  EXPECT_TRUE(worker(0).got(SIGKILL));
  let_killed_die();
  EXPECT_EQ(code(running), errc::cancelled);
  EXPECT_TRUE(finished());
}

TEST_F(SupervisorSizing, ATaskThatEndsWhileThePoolIsTerminatedHasItsValue) {
  make({.workers = 1});
  const auto running = submit("a");
  claims(worker(0));
  pool_->terminate();
  gives(worker(0));
  EXPECT_EQ(value(running), "a");
  let_killed_die();
  EXPECT_TRUE(finished());
}

TEST_F(SupervisorSizing, KillEndsWorkersAtOnce) {
  make({.workers = 2});
  const auto running = submit("a");
  if (claims(worker(0)).empty()) {
    claims(worker(1));
  }
  pool_->kill();
  EXPECT_TRUE(worker(0).got(SIGKILL));
  EXPECT_TRUE(worker(1).got(SIGKILL));
  let_killed_die();
  EXPECT_EQ(code(running), errc::cancelled);
  EXPECT_TRUE(finished());
  EXPECT_EQ(host_->pools_ended(), 1);
}

TEST_F(SupervisorSizing, APoolThatIsTerminatedWhileItStartsEnds) {
  begin({.workers = 2});
  worker(0).start();
  pool_->terminate();
  let_killed_die();
  EXPECT_TRUE(finished());
}

TEST_F(SupervisorSizing, WhatIsSubmittedBeforeTheWorkersAreThereWaitsForThem) {
  begin({.workers = 1});
  const auto task = submit("a");
  let_all_work();
  EXPECT_EQ(value(task), "a");
}

// It was killed although it had nothing left to do.
// Some always started, and those that were ready were used up before the next one was, so that none
// of the others left: a pool of three had 1,800 processes.
TEST_F(SupervisorSizing, WorkersThatHaveRunTheirTasksLeaveWhileOthersStart) {
  make({.workers = 3, .max_tasks_per_worker = 1});
  for (int i = 0; i < 60; ++i) {
    submit("x");
  }
  for (int i = 0; i < 50; ++i) {
    for (fake_worker* const one : host_->workers()) {
      if (one->launched()) {
        one->come_up();  // and no other
        host_->run();
        break;
      }
    }
    for (fake_worker* const one : host_->workers()) {
      if (!one->running() || !one->has_channel()) {
        continue;
      }
      if (!claims(*one).empty()) {
        gives(*one);
      } else if (one->told_to_stop()) {
        one->exit(0);
        host_->run();
      }
    }
    ASSERT_LE(size(), 9U) << "after " << i << " tasks";
  }
}

TEST_F(SupervisorSizing, AWorkerWithAFullRingIsToldToLeaveWhenItHasRead) {
  make({.workers = 1, .max_worker_age = 50ms});
  submit("first");
  claims(worker(0));
  gives(worker(0), 10us);  // so short that many are sent ahead
  constexpr std::size_t frame = 8192;
  constexpr std::size_t beside_arguments = 41;  // headers, lengths and the callable
  for (std::size_t i = 0; i < detail::ring_bytes / frame; ++i) {
    submit(std::string(frame - beside_arguments, 'x'));
  }
  ASSERT_EQ(pool_->stats().queued, 0U) << "all are in the ring";
  submit("does not fit");
  ASSERT_EQ(pool_->stats().queued, 1U);
  host_->advance(50ms);
  host_->come_up();
  fake_worker& old = worker(0);
  EXPECT_FALSE(old.told_to_stop());
  EXPECT_FALSE(old.got(SIGKILL));
  old.read();
  host_->advance(1ms);
  old.read();
  EXPECT_TRUE(old.told_to_stop());
  EXPECT_FALSE(old.got(SIGKILL));
}

// ---- questions to a supervisor that has ended ----------------------------------------------------

using SupervisorQuestions = FakePool;

/// Answers nothing, but lets a test do something in its turn.
struct replaced_supervisor {
  std::function<void()> turn;
  void handle(detail::supervisor_message&) const { turn(); }
};
using replaced_mailbox = detail::mailbox<detail::supervisor_message, replaced_supervisor>;

// The asker waited for ever.
TEST_F(SupervisorQuestions, ThatComeTooLateEnd) {
  replaced_mailbox box{host_->actors(), std::make_unique<replaced_supervisor>()};
  box.close();
  detail::question asked{[](detail::supervisor&) {}};
  box.send(detail::ask_supervisor{asked});
  EXPECT_EQ(asked.answered, detail::question::never);
}

TEST_F(SupervisorQuestions, ThatComeWhileItEndsEnd) {
  detail::question asked{[](detail::supervisor&) {}};
  replaced_mailbox* itself = nullptr;
  replaced_mailbox box{host_->actors(), std::make_unique<replaced_supervisor>([&] {
                         itself->close();
                         itself->send(detail::ask_supervisor{asked});
                       })};
  itself = &box;
  box.send(detail::look_for_results{});
  EXPECT_EQ(asked.answered, detail::question::never);
}

}  // namespace
}  // namespace troupe::test
