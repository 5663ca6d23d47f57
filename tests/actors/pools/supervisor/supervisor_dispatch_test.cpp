// SPDX-License-Identifier: BSD-3-Clause
// Which task goes to which worker, and when: the supervisor of a pool without processes.
#include "support/fake_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <map>
#include <set>
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

TEST_F(SupervisorDispatch, WhatNoWorkerHasBegunIsCounted) {
  make({.workers = 1});
  const auto not_begun = [&] {
    std::uint64_t items = 0;
    pool_->ask([&](detail::supervisor& supervisor) { items = supervisor.not_begun(); });
    return items;
  };
  submit("first");
  claims(worker(0));
  EXPECT_EQ(not_begun(), 0U);
  gives(worker(0), 10us);  // so short that many are sent ahead
  submit({"a", "b", "c"});
  claims(worker(0));
  gives_unheard(worker(0));
  claims(worker(0));
  EXPECT_EQ(not_begun(), 1U) << "one has ended, one runs, one was sent ahead";
  submit(std::vector<std::string>(1000, "x"));
  EXPECT_EQ(not_begun(), 1001U);
}

// All went to the worker that had run the last task.
TEST_F(SupervisorDispatch, NewKeysAreSpreadOverTheWorkers) {
  make({.workers = 4});
  std::map<std::uint64_t, int> keys;
  for (int i = 0; i < 40; ++i) {
    submit("x", {.affinity = "key " + std::to_string(i)});
    for (fake_worker* const one : host_->workers()) {
      if (!claims(*one).empty()) {
        ++keys[one->id()];
        gives(*one);
      }
    }
  }
  EXPECT_EQ(keys.size(), 4U);
  for (const auto& [worker, count] : keys) {
    EXPECT_EQ(count, 10);
  }
}

TEST_F(SupervisorDispatch, AForgottenKeyIsANewOneAndLosesNothing) {
  make({.workers = 2});
  submit("running", {.affinity = "cat"});
  const std::size_t at = claims(worker(0)).empty() ? 1 : 0;
  if (at == 1) {
    ASSERT_EQ(claims(worker(1)), "running");
  }
  fake_worker& other = worker(1 - at);
  const auto waits = submit("waits", {.affinity = "cat"});
  for (std::size_t i = 0; i <= detail::max_affinity_keys; ++i) {
    submit("x", {.affinity = "key " + std::to_string(i)});
    ASSERT_EQ(claims(other), "x");
    gives(other);
  }
  const auto again = submit("again", {.affinity = "cat"});
  EXPECT_EQ(claims(other), "again");
  gives(other);
  gives(worker(at));
  EXPECT_EQ(claims(worker(at)), "waits") << "it goes where its key was bound when it came";
  gives(worker(at));
  EXPECT_EQ(value(waits), "waits");
  EXPECT_EQ(value(again), "again");
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

// ---- tasks of tasks -----------------------------------------------------------------------------

/// Workers whose tasks submit tasks and wait for them.
class SupervisorNested : public FakePool {
 protected:
  /// `by` claims "parent", which submits one task with these arguments.
  void becomes_parent(fake_worker& by, const std::string& child = "child") {
    ASSERT_EQ(claims(by), "parent");
    by.open_outcomes();
    by.submit(1, child);
    host_->run();
  }
  /// Whether the worker's task waits for one that it has submitted.
  [[nodiscard]] bool waits(const fake_worker& one) const { return waiting_.contains(one.id()); }
  /// One step of each worker: a task "2" submits "1", which submits "0", which only ends. True:
  /// something happened.
  bool step_of_each() {
    bool some = host_->come_up();
    for (fake_worker* const one : host_->workers()) {
      if (!one->has_channel()) {
        continue;  // it is starting
      }
      if (waits(*one)) {
        if (one->outcome()) {
          waiting_.erase(one->id());
          gives(*one);
          some = true;
        }
        continue;
      }
      const std::string what = claims(*one);
      if (what.empty()) {
        if (one->told_to_stop()) {
          one->exit(0);
          host_->run();
        }
        continue;
      }
      some = true;
      if (what == "0") {
        gives(*one);
        continue;
      }
      if (opened_.insert(one->id()).second) {
        one->open_outcomes();
      }
      one->submit(one->claimed().front().number, std::to_string(std::stoi(what) - 1));
      host_->run();
      waiting_.insert(one->id());
    }
    most_workers_ = std::max(most_workers_, host_->workers().size());
    return some;
  }
  void run_all(const std::vector<submitted>& tasks) {
    for (int i = 0; i < 100'000 && step_of_each(); ++i) {
    }
    for (const submitted& task : tasks) {
      ASSERT_TRUE(task->done());
      for (std::uint32_t item = 0; item < task->count; ++item) {
        ASSERT_EQ(code(task, item), errc::ok) << text(task, item);
      }
    }
  }

  std::set<std::uint64_t> waiting_;
  std::set<std::uint64_t> opened_;
  std::size_t most_workers_ = 0;
};

TEST_F(SupervisorNested, ATaskOfATaskGoesBeforeWhatWasSubmittedEarlier) {
  make({.workers = 2});
  const std::vector<submitted> parents{submit("parent"), submit("parent"),
                                       submit("parent", {.priority = 9})};
  becomes_parent(worker(0), "first");
  becomes_parent(worker(1), "second");
  host_->come_up();
  ASSERT_GT(host_->workers().size(), 2U);
  EXPECT_EQ(claims(worker(2)), "first");
  gives(worker(2));
  EXPECT_EQ(worker(0).outcome()->second, "first");
}

// Each began, and waited for a task behind all that had not begun: 64 more workers, and errors.
TEST_F(SupervisorNested, ManyParentsNeedFewMoreWorkers) {
  make({.workers = 2});
  std::vector<submitted> parents;
  for (int i = 0; i < 200; ++i) {
    parents.push_back(submit("1"));
  }
  run_all(parents);
  EXPECT_LE(most_workers_, 6U);
  EXPECT_LE(host_->launches(), 8U) << "workers come and go for parents";
  EXPECT_EQ(pool_->workers().size(), 2U) << "the extra ones go again";
}

TEST_F(SupervisorNested, AMapOfAThousandParentsNeedsFewMoreWorkers) {
  make({.workers = 4});
  run_all({submit(std::vector<std::string>(1000, "1"))});
  EXPECT_LE(most_workers_, 12U);
  EXPECT_LE(host_->launches(), 20U);
}

TEST_F(SupervisorNested, EachDepthNeedsFewMoreWorkers) {
  make({.workers = 2});
  run_all({submit(std::vector<std::string>(300, "2"))});
  EXPECT_LE(most_workers_, 10U);
  EXPECT_LE(host_->launches(), 20U);
}

TEST_F(SupervisorNested, AnElasticPoolOfParentsStillGrows) {
  make({.min_workers = 1, .max_workers = 3});
  run_all({submit(std::vector<std::string>(100, "1"))});
  EXPECT_GE(most_workers_, 3U);
  EXPECT_LE(most_workers_, 9U);
}

// The child was bound to the worker whose task waited for it: for ever.
TEST_F(SupervisorNested, AChildWithTheKeyOfItsParentGoesToAnotherWorker) {
  make({.workers = 2, .task_defaults = {.affinity = "cat"}});
  const auto parent = submit("parent", {.affinity = "cat"});
  const std::size_t at = worker(0).read_and_count() > 0 ? 0 : 1;
  becomes_parent(worker(at));
  fake_worker& other = worker(1 - at);
  ASSERT_EQ(claims(other), "child");
  const auto next = submit("next", {.affinity = "cat"});
  gives(other);
  EXPECT_EQ(worker(at).outcome()->second, "child");
  EXPECT_EQ(claims(other), "") << "the key stays where it is";
  gives(worker(at));
  EXPECT_EQ(value(parent), "parent");
  EXPECT_EQ(claims(worker(at)), "next");
  gives(worker(at));
  EXPECT_EQ(value(next), "next");
}

TEST_F(SupervisorNested, AChildWithAKeyOfAnotherWorkerWaitsForIt) {
  make({.workers = 2, .task_defaults = {.affinity = "cat"}});
  submit("warm", {.affinity = "cat"});
  const std::size_t at = worker(0).read_and_count() > 0 ? 0 : 1;
  fake_worker& bound = worker(at);
  fake_worker& other = worker(1 - at);
  ASSERT_EQ(claims(bound), "warm");
  submit("parent");
  becomes_parent(other);
  host_->come_up();
  for (fake_worker* const one : host_->workers()) {
    EXPECT_EQ(one == &bound ? "" : claims(*one), "");
  }
  gives(bound);
  EXPECT_EQ(claims(bound), "child");
}

// It was sent to the other worker just before its task turned out to be long, and nothing took it
// back: the pool did not grow for what was sent ahead.
TEST_F(SupervisorNested, AChildSentBehindALongTaskGoesToOneMoreWorker) {
  make({.workers = 2});
  for (int i = 0; i < 40; ++i) {
    submit("short");
  }
  for (int i = 0; i < 200; ++i) {
    for (fake_worker* const one : host_->workers()) {
      if (!claims(*one).empty()) {
        gives(*one, 1us);
      }
    }
  }
  submit("parent");
  submit("long");
  const std::string first = claims(worker(0));
  const std::string second = claims(worker(1));
  ASSERT_EQ(first + second, first == "parent" ? "parentlong" : "longparent");
  fake_worker& parent = worker(first == "parent" ? 0 : 1);
  parent.open_outcomes();
  parent.submit(1, "child");
  host_->run();
  host_->advance(10ms);
  host_->come_up();
  ASSERT_EQ(host_->workers().size(), 3U);
  EXPECT_EQ(claims(worker(2)), "child");
}

// A task of a task had none at all.
TEST_F(SupervisorNested, AChildHasThePoolsDefaultDeadline) {
  make({.workers = 2, .grace = 30ms, .task_defaults = {.deadline = 100ms}});
  submit("parent");
  const std::size_t at = worker(0).read_and_count() > 0 ? 0 : 1;
  fake_worker& waiting = worker(at);
  fake_worker& other = worker(1 - at);
  becomes_parent(waiting);
  ASSERT_EQ(claims(other), "child");
  host_->advance(100ms);
  other.read();
  EXPECT_EQ(other.asked_to_stop().size(), 1U);
  host_->advance(30ms);
  EXPECT_TRUE(other.got(SIGKILL));
  let_killed_die();
  const auto ended = waiting.outcome();
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->second, "failed");
}

TEST_F(SupervisorNested, AChildThatWaitsPastItsDeadlineFails) {
  make({.workers = 1, .task_defaults = {.deadline = 100ms}});
  submit("parent");
  becomes_parent(worker(0));
  host_->advance(99ms);
  EXPECT_FALSE(worker(0).outcome());
  host_->advance(1ms);
  const auto ended = worker(0).outcome();
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->second, "failed");
}

// The task threw pool_closed on, so that its own future said that it had not run.
TEST_F(SupervisorNested, WhatATaskSubmitsToATerminatedPoolIsCancelled) {
  make({.workers = 1});
  submit("parent");
  ASSERT_EQ(claims(worker(0)), "parent");
  pool_->terminate();
  worker(0).open_outcomes();
  worker(0).submit(1, "child");
  host_->run();
  const auto ended = worker(0).outcome();
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->second, "failed");
  EXPECT_EQ(pool_->stats().cancelled, 1U);
  EXPECT_EQ(pool_->stats().failed, 0U);
}

}  // namespace
}  // namespace troupe::test
