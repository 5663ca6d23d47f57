// SPDX-License-Identifier: BSD-3-Clause
// Workers that die at every state, further attempts, and what ends a task from outside: the
// supervisor of a pool without processes.
#include "pools/supervisor/supervisor.hpp"
#include "support/fake_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

using namespace std::chrono_literals;

class SupervisorDeaths : public FakePool {
 protected:
  /// Why the pool did not start; ok: it did.
  errc start_failure() {
    std::shared_ptr<const failure> why;
    pool_->ask([&](detail::supervisor& supervisor) { why = supervisor.start_failure(); });
    return why ? why->code : errc::ok;
  }
};

// ---- deaths, by the state of the worker ---------------------------------------------------------

TEST_F(SupervisorDeaths, AWorkerThatDiesWhileThePoolStartsEndsTheStart) {
  begin({.workers = 2});
  worker(0).start();
  worker(0).say_hello();
  dies(worker(0));
  EXPECT_TRUE(worker(0).got(SIGKILL)) << "the other one is not needed any more";
  let_killed_die();
  EXPECT_TRUE(finished());
  EXPECT_THROW(submit("a"), pool_closed);
}

TEST_F(SupervisorDeaths, AWorkerOfAnotherBuildIsKilledAndGetsNoTask) {
  make({.workers = 1});
  dies(worker(0));
  worker(0).start();
  worker(0).say_hello_of_another_build();
  const auto task = submit("a");
  EXPECT_TRUE(worker(0).got(SIGKILL));
  worker(0).read();
  EXPECT_EQ(worker(0).waiting(), 0U);
  let_killed_die();
  host_->advance(1h);
  host_->come_up();
  let_all_work();
  EXPECT_EQ(value(task), "a") << "the next one is of this build";
}

// The supervisor looked at its ring again and again until the worker's process had ended.
TEST_F(SupervisorDeaths, FramesOfAWorkerOfAnotherBuildAreNotWaitedFor) {
  begin({.workers = 1});
  worker(0).start();
  worker(0).say_hello_of_another_build();
  worker(0).say_ready();
  host_->run();
  EXPECT_TRUE(worker(0).got(SIGKILL));
  let_killed_die();
  EXPECT_TRUE(finished());
}

TEST_F(SupervisorDeaths, FramesThatComeBeforeTheHelloWaitForIt) {
  begin({.workers = 1});
  worker(0).start();
  worker(0).say_ready();
  host_->run();
  worker(0).say_hello();
  const auto task = submit("a");
  works(worker(0));
  EXPECT_EQ(value(task), "a");
}

TEST_F(SupervisorDeaths, AWorkerOfAnotherBuildFailsTheStartAndSaysSo) {
  begin({.workers = 1});
  worker(0).start();
  worker(0).say_hello_of_another_build();
  host_->run();
  EXPECT_TRUE(worker(0).got(SIGKILL));
  let_killed_die();
  ASSERT_TRUE(finished());
  EXPECT_EQ(start_failure(), errc::version_mismatch);
}

// The users were told to raise .start_timeout.
TEST_F(SupervisorDeaths, AStartTimeoutDoesNotHideWhyAWorkerFailedToStart) {
  begin({.workers = 2, .start_timeout = 50ms});
  worker(0).start();
  worker(0).say_hello_of_another_build();
  host_->run();
  host_->advance(50ms);
  let_killed_die();
  EXPECT_EQ(start_failure(), errc::version_mismatch);
}

TEST_F(SupervisorDeaths, AStartTimeoutDoesNotHideThatAnInitializerFailed) {
  begin({.workers = 1, .start_timeout = 50ms});
  worker(0).start();
  worker(0).say_hello();
  worker(0).fail_initializer("no database");
  host_->run();
  host_->advance(50ms);
  if (!worker(0).ended()) {
    let_killed_die();
  }
  EXPECT_EQ(start_failure(), errc::initializer_failed);
}

// It was not replaced, and the pool's constructor never returned.
TEST_F(SupervisorDeaths, AReadyWorkerThatDiesWhileOthersStartIsReplaced) {
  begin({.workers = 2});
  const auto task = submit("a");
  worker(0).come_up();
  host_->run();
  dies(worker(0));
  ASSERT_EQ(host_->workers().size(), 2U);
  host_->come_up();
  let_all_work();
  EXPECT_EQ(value(task), "a");
}

TEST_F(SupervisorDeaths, AReplacementThatDoesNotComeUpIsStartedAgainWithBackoff) {
  make({.workers = 1, .restart = {.start_attempts = 4, .backoff = 100ms}});
  const auto task = submit("a");
  dies(worker(0));
  ASSERT_EQ(host_->workers().size(), 1U);
  dies((worker(0).start(), worker(0)));
  host_->advance(0ms);
  ASSERT_EQ(host_->workers().size(), 1U) << "the first failure costs no time";
  dies((worker(0).start(), worker(0)));
  EXPECT_EQ(host_->workers().size(), 0U);
  host_->advance(99ms);
  EXPECT_EQ(host_->workers().size(), 0U);
  host_->advance(1ms);
  ASSERT_EQ(host_->workers().size(), 1U);
  host_->come_up();
  works(worker(0));
  EXPECT_EQ(value(task), "a");
}

TEST_F(SupervisorDeaths, WhenReplacementsNeverComeUpThePoolIsBroken) {
  make({.workers = 1, .restart = {.start_attempts = 2, .backoff = 0ms}});
  const auto task = submit("a");
  dies(worker(0));
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(host_->workers().size(), 1U);
    dies((worker(0).start(), worker(0)));
    host_->advance(1ms);
  }
  EXPECT_EQ(code(task), errc::pool_broken);
  EXPECT_THROW(submit("b"), pool_broken);
  EXPECT_TRUE(finished());
}

TEST_F(SupervisorDeaths, AWorkerThatIsNotReadyInTimeIsKilled) {
  begin({.workers = 1, .start_timeout = 50ms});
  worker(0).start();
  host_->advance(49ms);
  EXPECT_FALSE(worker(0).got(SIGKILL));
  host_->advance(1ms);
  EXPECT_TRUE(worker(0).got(SIGKILL));
  let_killed_die();
  EXPECT_TRUE(finished());
}

// ---- limits that pass while the program is stopped ----------------------------------------------
// When it goes on, the timers come first: what arrived meanwhile is not read yet.

TEST_F(SupervisorDeaths, AWorkerThatWasReadyBeforeItsStartLimitIsReadIsNotKilled) {
  begin({.workers = 1, .start_timeout = 50ms});
  worker(0).start();
  worker(0).say_hello();
  host_->run();
  worker(0).say_ready_unheard();
  host_->advance(1h);
  EXPECT_FALSE(worker(0).got(SIGKILL));
  const auto task = submit("a");
  works(worker(0));
  EXPECT_EQ(value(task), "a");
}

TEST_F(SupervisorDeaths, AResultThatHasArrivedCountsWhenItsLimitIsReached) {
  make({.workers = 1, .grace = 30ms});
  for (const task_options& limit :
       {task_options{.timeout = 50ms}, task_options{.deadline = 50ms}}) {
    const auto task = submit("a", limit);
    claims(worker(0));
    gives_unheard(worker(0));
    host_->advance(1h);
    EXPECT_EQ(value(task), "a");
    EXPECT_FALSE(worker(0).got(SIGKILL));
  }
  EXPECT_EQ(pool_->stats().deaths, 0U);
}

TEST_F(SupervisorDeaths, AFailureThatHasArrivedCountsWhenItsTimeoutIsReached) {
  make({.workers = 1, .grace = 30ms});
  const auto task = submit("a", {.timeout = 50ms, .retries = 1});
  claims(worker(0));
  worker(0).give_failure_unheard(worker(0).claimed().front().number, errc::task_failed, "no");
  host_->advance(1h);
  EXPECT_EQ(code(task), errc::task_failed) << "it threw in time, and has not timed out";
}

TEST_F(SupervisorDeaths, AWorkerWhoseTaskHasEndedInTheGraceTimeIsNotKilled) {
  make({.workers = 1, .grace = 30ms});
  const auto timed = submit("a", {.timeout = 50ms});
  claims(worker(0));
  host_->advance(60ms);
  gives_unheard(worker(0));
  host_->advance(1h);
  EXPECT_EQ(code(timed), errc::timeout);
  const auto cancelled = submit("b");
  claims(worker(0));
  EXPECT_FALSE(cancelled->cancel(true));
  gives_unheard(worker(0));
  host_->advance(1h);
  EXPECT_EQ(value(cancelled), "b");
  EXPECT_FALSE(worker(0).got(SIGKILL));
}

TEST_F(SupervisorDeaths, AShortageWhenAWorkerIsStartedPasses) {
  make({.workers = 1, .restart = {.start_attempts = 1, .backoff = 10ms}});
  const auto task = submit("a");
  dies(worker(0));
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(host_->workers().size(), 1U);
    worker(0).refuse_to_start(EAGAIN);
    host_->advance(1s);
  }
  host_->come_up();
  works(worker(0));
  EXPECT_EQ(value(task), "a");
}

TEST_F(SupervisorDeaths, AnIdleWorkerThatDiesIsReplacedAndNoTaskFails) {
  make({.workers = 1});
  const std::uint64_t before = worker(0).id();
  dies(worker(0));
  ASSERT_EQ(host_->workers().size(), 1U);
  EXPECT_NE(worker(0).id(), before);
  EXPECT_EQ(pool_->stats().deaths, 1U);
}

TEST_F(SupervisorDeaths, WhatWasSentAndNotBegunGoesToAnotherWorker) {
  make({.workers = 1});
  const auto task = submit("a");
  worker(0).read();
  dies(worker(0));
  EXPECT_EQ(value(task), "pending");
  host_->come_up();
  EXPECT_EQ(claims(worker(0)), "a");
  gives(worker(0));
  EXPECT_EQ(value(task), "a");
}

TEST_F(SupervisorDeaths, WhatWasBegunIsLostAndOnlyThat) {
  make({.workers = 1});
  submit("first");
  claims(worker(0));
  gives(worker(0), 10us);
  const auto map = submit({"a", "b", "c"});
  ASSERT_EQ(claims(worker(0)), "a");
  gives(worker(0), 10us);
  ASSERT_EQ(claims(worker(0)), "b");
  dies(worker(0));
  host_->come_up();
  works(worker(0));
  EXPECT_EQ(value(map, 0), "a");
  EXPECT_EQ(code(map, 1), errc::worker_lost);
  EXPECT_EQ(value(map, 2), "c");
}

TEST_F(SupervisorDeaths, AResultThatWasPublishedBeforeTheDeathCounts) {
  make({.workers = 1});
  const auto task = submit("a");
  claims(worker(0));
  worker(0).give(worker(0).claimed().front().number, "a");
  dies(worker(0));
  EXPECT_EQ(value(task), "a");
}

TEST_F(SupervisorDeaths, AnEndOfTheChannelWithoutAnEndOfTheProcessIsFollowedByAKill) {
  make({.workers = 1});
  worker(0).close_channel();
  host_->run();
  EXPECT_TRUE(worker(0).got(SIGKILL));
}

TEST_F(SupervisorDeaths, AWorkerThatTalksNonsenseIsKilledAndItsTaskIsLost) {
  make({.workers = 1});
  const auto task = submit("a");
  claims(worker(0));
  worker(0).talk_nonsense();
  host_->run();
  EXPECT_TRUE(worker(0).got(SIGKILL));
  let_killed_die();
  EXPECT_EQ(code(task), errc::worker_lost);
}

TEST_F(SupervisorDeaths, ADeathOnTheWayOutIsNone) {
  make({.workers = 1, .max_tasks_per_worker = 1});
  submit("a");
  claims(worker(0));
  gives(worker(0));
  host_->come_up();  // the replacement
  worker(0).read();
  ASSERT_TRUE(worker(0).told_to_stop());
  dies(worker(0));
  EXPECT_EQ(pool_->stats().deaths, 0U);
  EXPECT_EQ(pool_->stats().recycled, 1U);
}

TEST_F(SupervisorDeaths, ARetiringWorkerThatDiesLosesItsTask) {
  make({.workers = 1, .max_tasks_per_worker = 1});
  const auto task = submit("a");
  ASSERT_EQ(claims(worker(0)), "a");
  dies(worker(0));
  EXPECT_EQ(code(task), errc::worker_lost);
  EXPECT_EQ(pool_->stats().deaths, 1U);
}

TEST_F(SupervisorDeaths, TooManyDeathsBreakThePool) {
  make({.workers = 1, .restart = {.intensity = 2, .period = 1s}});
  for (int i = 0; i < 3; ++i) {
    const auto task = submit("a");
    ASSERT_EQ(claims(worker(0)), "a");
    dies(worker(0));
    EXPECT_EQ(code(task), errc::worker_lost);
    host_->come_up();
  }
  EXPECT_THROW(submit("b"), pool_broken);
}

TEST_F(SupervisorDeaths, LimitsHaveANewNameAndTheOldOneGoesBeforeIt) {
  make({.workers = 1, .limits = {.intensity = 0}});
  dies(worker(0));
  EXPECT_THROW(submit("b"), pool_broken);
  make({.workers = 1, .limits = {.intensity = 0}, .restart = {.intensity = 1}});
  dies(worker(0));
  host_->come_up();
  EXPECT_NE(submit("b"), nullptr);
  dies(worker(0));
  EXPECT_THROW(submit("b"), pool_broken);
}

TEST_F(SupervisorDeaths, APoolWithoutALimitIsNeverBroken) {
  restart_limits limits = restart_forever(1s);
  limits.jitter = 0;
  make({.workers = 1, .limits = limits});
  for (int i = 0; i < 300; ++i) {
    dies(worker(0));
    host_->come_up();
  }
  EXPECT_NE(submit("b"), nullptr);
}

TEST_F(SupervisorDeaths, ADeathWithTheForkServerIsForgivenAndReplacedAfterTheBackoff) {
  make({.workers = 2, .limits = {.intensity = 0, .backoff = 100ms, .jitter = 0}});
  for (fake_worker* const one : host_->workers()) {
    one->die_with_server();
  }
  host_->run();
  EXPECT_EQ(host_->workers().size(), 0U);
  host_->advance(99ms);
  EXPECT_EQ(host_->workers().size(), 0U);
  host_->advance(1ms);
  EXPECT_EQ(host_->workers().size(), 2U) << "both are one end";
  host_->come_up();
  EXPECT_NE(submit("b"), nullptr);
}

TEST_F(SupervisorDeaths, ForgivenTooOftenInARowThePoolIsBroken) {
  make({.workers = 1, .limits = {.intensity = 0, .backoff = 1ms, .max_backoff = 1ms, .jitter = 0}});
  for (int i = 0; i < detail::max_forgiven_in_row - 1; ++i) {
    worker(0).die_with_server();
    host_->run();
    host_->advance(1ms);
    host_->come_up();
    ASSERT_NE(submit("a"), nullptr) << i;
    works(worker(0));
  }
  worker(0).die_with_server();
  host_->run();
  EXPECT_THROW(submit("b"), pool_broken);
}

// It was said to be lost to a SIGKILL, as if it had run out of memory.
TEST_F(SupervisorDeaths, WhatRunsWhenThePoolBreaksFailsWithThat) {
  make({.workers = 3, .restart = {.intensity = 0}});
  const std::vector<submitted> tasks{submit("a"), submit("a"), submit("a")};
  for (std::size_t i = 0; i < 3; ++i) {
    ASSERT_EQ(claims(worker(i)), "a");
  }
  worker(2).die_of(SIGBUS);  // at the same time, and heard of later
  worker(0).die_of(SIGSEGV);
  host_->run();
  let_killed_die();
  int lost = 0;
  int broken = 0;
  for (const submitted& task : tasks) {
    lost += code(task) == errc::worker_lost ? 1 : 0;
    if (code(task) == errc::pool_broken) {
      ++broken;
      EXPECT_NE(text(task).find("was running when"), std::string::npos) << text(task);
    }
  }
  EXPECT_EQ(lost, 2);
  EXPECT_EQ(broken, 1);
}

TEST_F(SupervisorDeaths, DeathsThatAreLongAgoDoNotCount) {
  make({.workers = 1, .restart = {.intensity = 2, .period = 1s}});
  for (int i = 0; i < 6; ++i) {
    dies(worker(0));
    host_->come_up();
    host_->advance(600ms);
  }
  EXPECT_NE(submit("b"), nullptr);
}

// ---- further attempts ---------------------------------------------------------------------------

TEST_F(SupervisorDeaths, ATaskWithRetriesIsTriedAgainAfterItsBackoff) {
  make({.workers = 1});
  const auto task = submit("a", {.retries = 2, .backoff = 100ms});
  ASSERT_EQ(claims(worker(0)), "a");
  dies(worker(0));
  host_->come_up();
  EXPECT_EQ(claims(worker(0)), "");
  host_->advance(99ms);
  EXPECT_EQ(claims(worker(0)), "");
  host_->advance(1ms);
  ASSERT_EQ(claims(worker(0)), "a");
  EXPECT_EQ(worker(0).claimed().front().attempt, 2U);
  dies(worker(0));
  host_->come_up();
  host_->advance(199ms);
  EXPECT_EQ(claims(worker(0)), "") << "the backoff doubles";
  host_->advance(1ms);
  ASSERT_EQ(claims(worker(0)), "a");
  gives(worker(0));
  EXPECT_EQ(value(task), "a");
  EXPECT_EQ(pool_->stats().retried, 2U);
}

TEST_F(SupervisorDeaths, WhenTheRetriesAreUsedUpTheFailureListsTheAttempts) {
  make({.workers = 1});
  const auto task = submit("a", {.retries = 1});
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(claims(worker(0)), "a");
    dies(worker(0));
    host_->come_up();
  }
  ASSERT_EQ(code(task), errc::worker_lost);
  EXPECT_EQ(task->item_failure(0)->attempts.size(), 2U);
}

TEST_F(SupervisorDeaths, DeathsOfTasksWithRetriesDoNotBreakThePool) {
  make({.workers = 1, .restart = {.intensity = 0}});
  submit("a", {.retries = 10});
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(claims(worker(0)), "a");
    dies(worker(0));
    host_->come_up();
  }
  EXPECT_NE(submit("b"), nullptr);
}

TEST_F(SupervisorDeaths, ATaskBetweenTwoAttemptsIsCancelledForCertain) {
  make({.workers = 1});
  const auto task = submit("a", {.retries = 1, .backoff = 10s});
  claims(worker(0));
  dies(worker(0));
  EXPECT_TRUE(task->cancel(false));
  EXPECT_EQ(code(task), errc::cancelled);
  host_->come_up();
  host_->advance(20s);
  EXPECT_EQ(claims(worker(0)), "");
}

TEST_F(SupervisorDeaths, AThrownExceptionIsNoReasonForAnotherAttempt) {
  make({.workers = 1});
  const auto task = submit("a", {.retries = 3});
  claims(worker(0));
  worker(0).give_failure(worker(0).claimed().front().number, errc::task_failed, "no");
  host_->run();
  EXPECT_EQ(code(task), errc::task_failed);
}

TEST_F(SupervisorDeaths, TheEndOfANeighbourCostsACoroutineNoRetry) {
  make({.workers = 1, .concurrency = 2, .grace = 10ms});
  const auto hung = submit("hung", {.timeout = 50ms});
  const auto neighbour = submit("neighbour", {.retries = 1});
  for (int i = 0; i < 2; ++i) {
    ASSERT_NE(claims(worker(0)), "");
  }
  host_->advance(60ms);
  ASSERT_TRUE(let_killed_die());
  EXPECT_EQ(code(hung), errc::timeout);
  for (int i = 0; i < 2; ++i) {
    host_->come_up();
    ASSERT_EQ(claims(worker(0)), "neighbour") << i;
    if (i == 0) {
      dies(worker(0));  // this one costs a retry
    }
  }
  gives(worker(0));
  EXPECT_EQ(value(neighbour), "neighbour");
}

// ---- time ---------------------------------------------------------------------------------------

TEST_F(SupervisorDeaths, ATimeoutAsksTheTaskToStopAndThenKillsItsWorker) {
  make({.workers = 1, .grace = 30ms});
  const auto task = submit("a", {.timeout = 50ms});
  host_->advance(1s);
  ASSERT_EQ(claims(worker(0)), "a") << "the time counts from its begin";
  host_->advance(49ms);
  worker(0).read();
  EXPECT_TRUE(worker(0).asked_to_stop().empty());
  host_->advance(1ms);
  worker(0).read();
  EXPECT_EQ(worker(0).asked_to_stop().size(), 1U);
  host_->advance(29ms);
  EXPECT_FALSE(worker(0).got(SIGKILL));
  host_->advance(1ms);
  EXPECT_TRUE(worker(0).got(SIGKILL));
  let_killed_die();
  EXPECT_EQ(code(task), errc::timeout);
}

TEST_F(SupervisorDeaths, ATaskThatStopsInTheGraceTimeHasTimedOutAllTheSame) {
  make({.workers = 1, .grace = 30ms});
  const auto task = submit("a", {.timeout = 50ms});
  claims(worker(0));
  host_->advance(60ms);
  gives(worker(0));
  EXPECT_EQ(code(task), errc::timeout);
  host_->advance(1s);
  EXPECT_FALSE(worker(0).got(SIGKILL));
}

TEST_F(SupervisorDeaths, ATaskThatEndsInTimeIsNotKilled) {
  make({.workers = 1, .grace = 30ms});
  const auto task = submit("a", {.timeout = 50ms});
  claims(worker(0));
  host_->advance(49ms);
  gives(worker(0));
  EXPECT_EQ(value(task), "a");
  submit("b");
  claims(worker(0));
  host_->advance(1s);
  EXPECT_FALSE(worker(0).got(SIGKILL));
}

TEST_F(SupervisorDeaths, ADeadlineEndsATaskThatWaits) {
  make({.workers = 1});
  submit("running");
  claims(worker(0));
  const auto task = submit("a", {.deadline = 50ms});
  host_->advance(49ms);
  EXPECT_EQ(value(task), "pending");
  host_->advance(1ms);
  EXPECT_EQ(code(task), errc::timeout);
  gives(worker(0));
  EXPECT_EQ(claims(worker(0)), "");
  EXPECT_EQ(pool_->stats().queued, 0U);
}

TEST_F(SupervisorDeaths, ADeadlineEndsATaskThatRuns) {
  make({.workers = 1, .grace = 30ms});
  const auto task = submit("a", {.deadline = 50ms, .retries = 5});
  host_->advance(20ms);
  claims(worker(0));
  host_->advance(30ms);
  worker(0).read();
  EXPECT_EQ(worker(0).asked_to_stop().size(), 1U);
  host_->advance(30ms);
  let_killed_die();
  EXPECT_EQ(code(task), errc::timeout);
}

TEST_F(SupervisorDeaths, ADeadlineEndsATaskBetweenTwoAttempts) {
  make({.workers = 1});
  const auto task = submit("a", {.deadline = 50ms, .retries = 1, .backoff = 10s});
  claims(worker(0));
  dies(worker(0));
  host_->advance(50ms);
  EXPECT_EQ(code(task), errc::timeout);
}

// A fraction of a second; looking through the queue for each took minutes.
TEST_F(SupervisorDeaths, VeryManyDeadlinesMayPassAtOnce) {
  make({.workers = 1});
  submit("running");
  claims(worker(0));
  std::vector<submitted> tasks;
  for (int i = 0; i < 50'000; ++i) {
    tasks.push_back(submit("a", {.deadline = 50ms}));
  }
  host_->advance(50ms);
  EXPECT_EQ(pool_->stats().failed, tasks.size());
  EXPECT_EQ(pool_->stats().queued, 0U);
}

// All of them were kept until the task in front of them had found a worker.
TEST_F(SupervisorDeaths, WhatEndedBehindATaskThatWaitsIsNotKept) {
  make({.workers = 1});
  submit("running");
  claims(worker(0));
  const auto waits = submit("waits");
  std::vector<std::weak_ptr<detail::process_submission>> ended;
  for (int i = 0; i < 10'000; ++i) {
    const auto task = submit("a");
    ended.push_back(task);
    task->cancel(false);
    ended.push_back(submit("a", {.deadline = 50ms}));
  }
  host_->advance(50ms);
  EXPECT_LT(
      std::count_if(ended.begin(), ended.end(), [](const auto& one) { return !one.expired(); }),
      2'000);
  gives(worker(0));
  works(worker(0));
  EXPECT_EQ(value(waits), "waits");
}

TEST_F(SupervisorDeaths, ADeadlineEndsTheItemsThatWaitAndThoseThatRun) {
  make({.workers = 1, .grace = 30ms});
  const auto map = submit({"a", "b", "c"}, {.deadline = 50ms});
  claims(worker(0));
  gives(worker(0));
  claims(worker(0));
  host_->advance(80ms);
  let_killed_die();
  EXPECT_EQ(value(map, 0), "a");
  EXPECT_EQ(code(map, 1), errc::timeout);
  EXPECT_EQ(code(map, 2), errc::timeout);
}

// ---- results that are in the ring and were not read yet -----------------------------------------

/// A map of which two items have ended without the supervisor's having read it, and the third runs.
class SupervisorBehind : public FakePool {
 protected:
  submitted begin_map(const task_options& how) {
    make({.workers = 1, .grace = 30ms});
    submit("first");
    claims(worker(0));
    gives(worker(0), 10us);  // so short that many are sent ahead
    auto map = submit({"a", "b", "c", "d"}, how);
    EXPECT_EQ(claims(worker(0)), "a");
    gives_unheard(worker(0));
    EXPECT_EQ(claims(worker(0)), "b");
    gives_unheard(worker(0));
    EXPECT_EQ(claims(worker(0)), "c");
    runs_ = worker(0).claimed().front().number;
    return map;
  }
  /// What is asked to stop is the item that runs.
  void expect_asked() {
    worker(0).read();
    EXPECT_EQ(worker(0).asked_to_stop(), std::vector<std::uint64_t>{runs_});
  }
  void expect_one_outcome_each(const submitted& map) {
    EXPECT_EQ(value(map, 0), "a");
    EXPECT_EQ(value(map, 1), "b");
    const pool_stats stats = pool_->stats();
    EXPECT_EQ(stats.succeeded, 3U);
    EXPECT_EQ(stats.failed + stats.cancelled, 2U);
    EXPECT_EQ(stats.queued, 0U);
    EXPECT_EQ(stats.running, 0U);
  }

  std::uint64_t runs_ = 0;
};

// They failed, and then had their values, too: the map was done before its last item was.
TEST_F(SupervisorBehind, ADeadlineFailsWhatHasNotBegunAndWhatRunsOnly) {
  const auto map = begin_map({.deadline = 50ms});
  host_->advance(50ms);
  expect_asked();
  EXPECT_FALSE(map->done());
  gives(worker(0));
  expect_one_outcome_each(map);
  EXPECT_EQ(code(map, 2), errc::timeout);
  EXPECT_EQ(code(map, 3), errc::timeout);
}

TEST_F(SupervisorBehind, AfterADeadlineWhatRunsIsKilled) {
  const auto map = begin_map({.deadline = 50ms});
  host_->advance(80ms);
  EXPECT_TRUE(worker(0).got(SIGKILL));
  let_killed_die();
  expect_one_outcome_each(map);
  EXPECT_EQ(code(map, 2), errc::timeout);
}

// The first item that had ended was asked, and its end was the end of the request.
TEST_F(SupervisorBehind, CancelByForceEndsWhatRuns) {
  const auto map = begin_map({});
  EXPECT_FALSE(map->cancel(true));
  expect_asked();
  host_->advance(30ms);
  EXPECT_TRUE(worker(0).got(SIGKILL));
  let_killed_die();
  host_->come_up();
  works(worker(0));
  EXPECT_EQ(value(map, 0), "a");
  EXPECT_EQ(value(map, 1), "b");
  EXPECT_EQ(code(map, 2), errc::cancelled);
}

TEST_F(SupervisorBehind, CancelAsksWhatRunsToStop) {
  const auto map = begin_map({});
  EXPECT_FALSE(map->cancel(false));
  expect_asked();
}

TEST_F(SupervisorBehind, TerminateCancelsWhatRuns) {
  const auto map = begin_map({});
  pool_->terminate();
  expect_asked();
  let_killed_die();
  expect_one_outcome_each(map);
  EXPECT_EQ(code(map, 2), errc::cancelled);
  EXPECT_EQ(code(map, 3), errc::cancelled);
}

// What was not read from a worker that the pool had ended was worker_lost, "died of SIGTERM".
TEST_F(SupervisorDeaths, WhatIsLostWithAWorkerThatThePoolEndsIsCancelled) {
  make({.workers = 1});
  submit("first");
  claims(worker(0));
  gives(worker(0), 10us);  // so short that many are sent ahead
  const auto map = submit({"a", "b", "c"});
  ASSERT_EQ(claims(worker(0)), "a");
  worker(0).talk_nonsense_unheard();
  gives_unheard(worker(0));  // behind what breaks the channel
  ASSERT_EQ(claims(worker(0)), "b");
  pool_->terminate();
  let_killed_die();
  EXPECT_TRUE(finished());
  for (std::uint32_t item = 0; item < 3; ++item) {
    EXPECT_EQ(code(map, item), errc::cancelled) << text(map, item);
  }
}

TEST_F(SupervisorBehind, AnExecutorThatEndsAsksWhatRunsToStop) {
  const auto map = begin_map({});
  pool_->cancel_waiting();
  pool_->ask_all_to_stop();
  expect_asked();
  gives(worker(0));
  EXPECT_EQ(value(map, 2), "c");
  EXPECT_EQ(code(map, 3), errc::cancelled);
}

// Only the one that was begun first was, and by the word that only plain tasks see.
TEST_F(SupervisorDeaths, AnExecutorThatEndsAsksAllCoroutinesToStop) {
  make({.workers = 1, .concurrency = 3});
  const std::vector<submitted> tasks{submit("a"), submit("b"), submit("waits")};
  EXPECT_EQ(claims(worker(0)), "a");
  EXPECT_EQ(claims(worker(0)), "b");
  pool_->cancel_waiting();
  pool_->ask_all_to_stop();
  worker(0).read();
  EXPECT_EQ(worker(0).asked_to_stop().size(), 2U);
  EXPECT_EQ(code(tasks[2]), errc::cancelled);
}

}  // namespace
}  // namespace troupe::test
