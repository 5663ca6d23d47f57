// SPDX-License-Identifier: BSD-3-Clause
// Which task goes to which worker, and when: the supervisor of a pool without processes.
#include "support/fake_pool.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

using namespace std::chrono_literals;

using SupervisorDispatch = FakePool;

TEST_F(SupervisorDispatch, ATaskGoesToAWorkerAndItsValueComesBack) {
  make({.workers = 1});
  const auto task = submit("a");
  EXPECT_EQ(value(task), "pending");
  EXPECT_EQ(claims(worker(0)), "a");
  EXPECT_TRUE(task->running());
  gives(worker(0));
  EXPECT_EQ(value(task), "a");
  EXPECT_EQ(pool_->stats().succeeded, 1U);
}

TEST_F(SupervisorDispatch, NothingWaitsBehindATaskOfUnknownLength) {
  make({.workers = 1});
  submit("a");
  submit("b");
  worker(0).read();
  EXPECT_EQ(worker(0).waiting(), 1U);
  EXPECT_EQ(pool_->stats().queued, 1U);
}

TEST_F(SupervisorDispatch, TheWindowIsAboutAMillisecondOfWork) {
  make({.workers = 1});
  submit("first");
  ASSERT_EQ(claims(worker(0)), "first");
  gives(worker(0), 100us);
  submit(std::vector<std::string>(30, "x"));
  worker(0).read();
  EXPECT_EQ(worker(0).waiting(), 11U) << "the one that runs and ten behind it";
}

TEST_F(SupervisorDispatch, AHigherPriorityGoesFirstAndEqualsInTheirOrder) {
  make({.workers = 1});
  submit("running");
  ASSERT_EQ(claims(worker(0)), "running");
  submit("a");
  submit("b", {.priority = 1});
  submit("c", {.priority = -1});
  submit("d", {.priority = 1});
  gives(worker(0));
  std::string order;
  for (std::string next = claims(worker(0)); !next.empty(); next = claims(worker(0))) {
    order += next;
    gives(worker(0));
  }
  EXPECT_EQ(order, "bdac");
}

TEST_F(SupervisorDispatch, AHigherPriorityGoesBeforeWhatWasSentAheadAndNotBegun) {
  make({.workers = 1});
  submit("first");
  claims(worker(0));
  gives(worker(0), 10us);
  submit("running");
  ASSERT_EQ(claims(worker(0)), "running");
  submit("low");
  worker(0).read();
  ASSERT_EQ(worker(0).waiting(), 1U) << "it was sent ahead";
  submit("high", {.priority = 9});
  gives(worker(0), 10us);
  EXPECT_EQ(claims(worker(0)), "high");
}

TEST_F(SupervisorDispatch, WorkGoesToTheWorkerThatHasNone) {
  make({.workers = 3});
  std::vector<submitted> tasks;
  for (int i = 0; i < 3; ++i) {
    tasks.push_back(submit(std::to_string(i)));
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(claims(worker(static_cast<std::size_t>(i))), "");
  }
  for (std::size_t i = 0; i < 3; ++i) {
    gives(worker(i));
    EXPECT_NE(value(tasks[i]), "pending");
  }
}

TEST_F(SupervisorDispatch, WhatWaitsBehindASlowTaskGoesToAWorkerThatHasNothingToDo) {
  make({.workers = 2});
  for (int i = 0; i < 2; ++i) {
    submit("first");
    claims(worker(static_cast<std::size_t>(i)));
  }
  gives(worker(0), 10us);
  gives(worker(1), 10us);
  const auto map = submit({"slow", "b", "c", "d"});
  fake_worker* slow = nullptr;
  fake_worker* quick = nullptr;
  for (fake_worker* one : host_->workers()) {
    const std::string got = claims(*one);
    (got == "slow" ? slow : quick) = one;
  }
  ASSERT_NE(slow, nullptr);
  ASSERT_NE(quick, nullptr);
  while (!quick->claimed().empty()) {
    gives(*quick, 10us);
    claims(*quick);
  }
  host_->advance(10ms);
  works(*quick);
  host_->advance(10ms);
  works(*quick);
  slow->read();
  EXPECT_FALSE(map->done());
  EXPECT_EQ(claims(*slow), "") << "all but the slow one were taken back";
  gives(*slow);
  EXPECT_EQ(value(map, 0) + value(map, 1) + value(map, 2) + value(map, 3), "slowbcd");
}

TEST_F(SupervisorDispatch, TasksWithOneKeyRunOnOneWorker) {
  make({.workers = 2});
  submit("a", {.affinity = "cat"});
  std::size_t at = claims(worker(0)).empty() ? 1 : 0;
  if (at == 1) {
    ASSERT_EQ(claims(worker(1)), "a");
  }
  const auto next = submit("b", {.affinity = "cat"});
  EXPECT_EQ(claims(worker(1 - at)), "") << "the other worker has nothing to do, and yet";
  gives(worker(at));
  EXPECT_EQ(claims(worker(at)), "b");
  gives(worker(at));
  EXPECT_EQ(value(next), "b");
}

TEST_F(SupervisorDispatch, WhatWaitedForADeadWorkerGoesToAnother) {
  make({.workers = 2});
  submit("a", {.affinity = "cat"});
  const std::size_t at = claims(worker(0)).empty() ? 1 : 0;
  if (at == 1) {
    claims(worker(1));
  }
  const auto next = submit("b", {.affinity = "cat"});
  fake_worker& other = worker(1 - at);
  dies(worker(at));
  EXPECT_EQ(claims(other), "b");
  gives(other);
  EXPECT_EQ(value(next), "b");
}

TEST_F(SupervisorDispatch, CoroutinesOfAWorkerEndInAnyOrder) {
  make({.workers = 1, .concurrency = 3});
  std::vector<submitted> tasks;
  for (int i = 0; i < 4; ++i) {
    tasks.push_back(submit(std::to_string(i)));
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(claims(worker(0)), std::to_string(i));
  }
  const auto begun = worker(0).claimed();
  worker(0).give(begun[1].number, "one");
  host_->run();
  EXPECT_EQ(value(tasks[1]), "one");
  EXPECT_EQ(claims(worker(0)), "3");
  worker(0).give(begun[2].number, "two");
  worker(0).give(begun[0].number, "zero");
  host_->run();
  EXPECT_EQ(value(tasks[0]) + value(tasks[2]), "zerotwo");
  gives(worker(0));
  EXPECT_EQ(value(tasks[3]), "3");
}

TEST_F(SupervisorDispatch, AWaitingTaskThatIsCancelledNeverReachesAWorker) {
  make({.workers = 1});
  submit("a");
  const auto waiting = submit("b");
  EXPECT_TRUE(waiting->cancel(false));
  EXPECT_EQ(code(waiting), errc::cancelled);
  ASSERT_EQ(claims(worker(0)), "a");
  gives(worker(0));
  EXPECT_EQ(claims(worker(0)), "");
}

TEST_F(SupervisorDispatch, ATaskThatWasSentAndNotBegunIsCancelledForCertain) {
  make({.workers = 1});
  const auto sent = submit("a");
  worker(0).read();
  ASSERT_EQ(worker(0).waiting(), 1U);
  EXPECT_TRUE(sent->cancel(false));
  EXPECT_EQ(claims(worker(0)), "");
}

TEST_F(SupervisorDispatch, ARunningTaskIsAskedToStopAndWithForceItsWorkerIsKilled) {
  make({.workers = 1, .grace = 100ms});
  const auto running = submit("a");
  ASSERT_EQ(claims(worker(0)), "a");
  EXPECT_FALSE(running->cancel(false));
  worker(0).read();
  EXPECT_EQ(worker(0).asked_to_stop().size(), 1U);
  host_->advance(200ms);
  EXPECT_FALSE(worker(0).got(SIGKILL));
  EXPECT_FALSE(running->cancel(true));
  host_->advance(99ms);
  EXPECT_FALSE(worker(0).got(SIGKILL));
  host_->advance(1ms);
  EXPECT_TRUE(worker(0).got(SIGKILL));
  let_killed_die();
  EXPECT_EQ(code(running), errc::cancelled);
  EXPECT_EQ(pool_->stats().deaths, 0U) << "it was no death that counts";
}

TEST_F(SupervisorDispatch, TheFirstFailureOfAMapCutsOffWhatComesAfterIt) {
  struct map_group final : detail::submission_group {
    void submission_done(detail::process_submission&) override { ++ended; }
    int ended = 0;
  };
  make({.workers = 1});
  const auto group = std::make_shared<map_group>();
  const auto first = submit({"a", "b"}, {}, group);
  const auto second = submit({"c", "d"}, {}, group);
  ASSERT_EQ(claims(worker(0)), "a");
  worker(0).give_failure(worker(0).claimed().front().number, errc::task_failed, "no");
  host_->run();
  EXPECT_EQ(claims(worker(0)), "");
  EXPECT_EQ(code(first, 0), errc::task_failed);
  EXPECT_EQ(code(first, 1), errc::cancelled);
  EXPECT_EQ(code(second, 0), errc::cancelled);
  EXPECT_EQ(group->ended, 2);
  EXPECT_EQ(pool_->stats().queued, 0U);
}

TEST_F(SupervisorDispatch, AFullQueueRefusesUntilAWorkerTakesATask) {
  make({.workers = 1, .max_queued = 1});
  submit("a");
  const auto second = submit("b");
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(submit("c"), nullptr);
  claims(worker(0));
  gives(worker(0));
  EXPECT_NE(submit("c"), nullptr);
}

TEST_F(SupervisorDispatch, ATaskOfATaskGetsAWorkerOfItsOwnAndItsOutcomeComesBack) {
  make({.workers = 1});
  const auto parent = submit("parent");
  ASSERT_EQ(claims(worker(0)), "parent");
  worker(0).open_outcomes();
  worker(0).submit(5, "child");
  host_->run();
  ASSERT_EQ(host_->workers().size(), 2U) << "one more, for the only one waits";
  host_->come_up();
  EXPECT_EQ(claims(worker(1)), "child");
  gives(worker(1));
  const auto outcome = worker(0).outcome();
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->first, 5U);
  EXPECT_EQ(outcome->second, "child");
  gives(worker(0));
  EXPECT_EQ(value(parent), "parent");
  let_all_work();
  EXPECT_EQ(host_->workers().size(), 1U) << "the extra one was let go";
}

TEST_F(SupervisorDispatch, TasksOfADeadTaskAreCancelled) {
  make({.workers = 1});
  const auto parent = submit("parent");
  claims(worker(0));
  worker(0).open_outcomes();
  worker(0).submit(5, "child");
  host_->run();
  dies(worker(0));
  EXPECT_EQ(code(parent), errc::worker_lost);
  EXPECT_EQ(pool_->stats().cancelled, 1U);
}

}  // namespace
}  // namespace troupe::test
