// SPDX-License-Identifier: BSD-3-Clause
#include "supervision/supervision.hpp"

#include "script.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

script three(strategy how, restart type = restart::permanent) {
  return {script::rules(how), script::specs({"a", "b", "c"}, type)};
}
child_spec temporary(const std::string& name) {
  return {.name = name, .restart = restart::temporary};
}

// Starting.

TEST(SupervisionStart, EachChildIsReadyBeforeTheNextBegins) {
  script tree = three(strategy::one_for_one);
  EXPECT_EQ(tree.start(), "start a");
  EXPECT_EQ(tree.ready("a"), "start b");
  EXPECT_EQ(tree.ready("b"), "start c");
  EXPECT_EQ(tree.ready("c"), "ready");
}

TEST(SupervisionStart, WithoutChildrenItIsReadyAtOnce) {
  script tree{{}, {}};
  EXPECT_EQ(tree.start(), "ready");
  EXPECT_EQ(tree.stop(), "stopped");
}

TEST(SupervisionStart, AfterEdgesComeBeforeTheOrderOfAdding) {
  script tree{script::rules(strategy::one_for_one),
              {{.name = "web", .after = {"db", "cache"}}, {.name = "db"}, {.name = "cache"}}};
  EXPECT_EQ(tree.start(), "start db");
  EXPECT_EQ(tree.ready("db"), "start cache");
  EXPECT_EQ(tree.ready("cache"), "start web");
}

TEST(SupervisionStart, AChildThatIsNotNeededIsPassedOver) {
  script tree = three(strategy::one_for_one);
  tree.start();
  EXPECT_EQ(tree.ignore("a"), "start b");
  EXPECT_EQ(tree.phase("a"), "stopped");
}

TEST(SupervisionStart, AJobThatIsDoneBeforeItSaysReadyIsPassedOver) {
  script tree = three(strategy::one_for_one, restart::transient);
  tree.start();
  EXPECT_EQ(tree.end("a", end_cause::finished), "start b");
  EXPECT_EQ(tree.phase("a"), "stopped");
}

TEST(SupervisionStart, AChildThatIsNotReadyInTimeIsKilledAndStartedAgain) {
  script tree{script::rules(strategy::one_for_one), {{.name = "a", .start_timeout = 2s}}};
  tree.start();
  EXPECT_EQ(tree.decides().next_time(), tree.now() + 2s);
  EXPECT_EQ(tree.pass(1999ms), "");
  EXPECT_EQ(tree.pass(1ms), "kill a");
  EXPECT_EQ(tree.ready("a"), "") << "too late";
  EXPECT_EQ(tree.end("a"), "start a");
  EXPECT_EQ(tree.child("a").last_end, end_cause::start_limit);
  EXPECT_EQ(tree.decides().picture(tree.now()).counted, 1);
  EXPECT_EQ(tree.ready("a"), "ready");
}

TEST(SupervisionStart, NothingBehindAChildThatCannotStartBegins) {
  script tree = three(strategy::one_for_one);
  tree.start();
  tree.ready("a");
  EXPECT_EQ(tree.end("b", end_cause::threw), "start b");
  EXPECT_EQ(tree.end("b", end_cause::threw), "start b");
  EXPECT_EQ(tree.end("b", end_cause::threw), "ask a");
  EXPECT_EQ(tree.end("a"), "gave up: start attempts");
  EXPECT_EQ(tree.run("c"), 0U);
}

TEST(SupervisionStart, AChildThatDiesWhileOthersStillStartIsStartedAgainAtOnce) {
  script tree = three(strategy::one_for_one);
  tree.start();
  tree.ready("a");
  EXPECT_EQ(tree.end("a"), "start a");
  EXPECT_EQ(tree.ready("b"), "start c") << "b was next, a is not waited for again";
  EXPECT_EQ(tree.ready("c"), "ready");
}

TEST(SupervisionStart, OneForAllBeginsAnewWhenAChildDiesWhileOthersStart) {
  script tree = three(strategy::one_for_all);
  tree.start();
  tree.ready("a");
  EXPECT_EQ(tree.end("a"), "ask b");
  EXPECT_EQ(tree.end("b"), "start a");
}

TEST(SupervisionStart, SpecsWithMistakesStartNothing) {
  script tree{{}, script::specs({"a", "a"})};
  EXPECT_EQ(tree.start(), "invalid");
  EXPECT_EQ(tree.decides().mistakes().size(), 1U);
}

// Stopping.

TEST(SupervisionStop, IsTheExactReverseOneByOne) {
  script tree{script::rules(strategy::one_for_one),
              {{.name = "web", .after = {"db"}}, {.name = "db"}, {.name = "log"}}};
  tree.start_all();  // db, web, log
  EXPECT_EQ(tree.stop(), "ask log");
  EXPECT_EQ(tree.end("log"), "ask web");
  EXPECT_EQ(tree.end("web"), "ask db");
  EXPECT_EQ(tree.end("db"), "stopped");
}

TEST(SupervisionStop, OfAHalfStartedTreeStopsWhatWasStarted) {
  script tree = three(strategy::one_for_one);
  tree.start();
  tree.ready("a");
  EXPECT_EQ(tree.stop(), "ask b");
  EXPECT_EQ(tree.end("b"), "ask a");
  EXPECT_EQ(tree.end("a"), "stopped");
}

class ShutdownTime : public testing::TestWithParam<std::chrono::milliseconds> {};

TEST_P(ShutdownTime, IsGivenInFullAndNotLonger) {
  script tree{script::rules(strategy::one_for_one), {{.name = "a", .shutdown = GetParam()}}};
  tree.start_all();
  EXPECT_EQ(tree.stop(), "ask a");
  EXPECT_EQ(tree.decides().next_time(), tree.now() + GetParam());
  EXPECT_EQ(tree.pass(GetParam() - 1ns), "") << "too short";
  EXPECT_EQ(tree.pass(1ns), "kill a") << "too long";
  EXPECT_EQ(tree.pass(1h), "") << "killed once";
  EXPECT_EQ(tree.end("a"), "stopped");
}

INSTANTIATE_TEST_SUITE_P(F05, ShutdownTime, testing::Values(1s, 2s, 5s));

TEST(SupervisionStop, BrutalKillDoesNotAsk) {
  script tree{script::rules(strategy::one_for_one), {{.name = "a", .shutdown = brutal_kill}}};
  tree.start_all();
  EXPECT_EQ(tree.stop(), "kill a");
}

TEST(SupervisionStop, InfinityWaitsForEver) {
  script tree{script::rules(strategy::one_for_one), {{.name = "a", .shutdown = no_limit}}};
  tree.start_all();
  EXPECT_EQ(tree.stop(), "ask a");
  EXPECT_EQ(tree.decides().next_time(), std::nullopt);
  EXPECT_EQ(tree.pass(24h * 365), "");
}

TEST(SupervisionStop, DynamicChildrenAreStoppedTogetherAndFirst) {
  script tree = three(strategy::one_for_one);
  tree.start_all();
  tree.add({.name = "x"});
  tree.add({.name = "y"});
  tree.ready("x");
  EXPECT_EQ(tree.stop(), "ask x, 2: supervisor stopping, ask y");
  EXPECT_EQ(tree.end("x"), "");
  EXPECT_EQ(tree.end("y"), "ask c");
}

TEST(SupervisionStop, ADeathMeanwhileIsPartOfTheStop) {
  script tree = three(strategy::one_for_all);
  tree.start_all();
  EXPECT_EQ(tree.stop(), "ask c");
  EXPECT_EQ(tree.end("a"), "");
  EXPECT_EQ(tree.end("c"), "ask b");
  EXPECT_EQ(tree.end("b"), "stopped");
}

TEST(SupervisionStop, KillEndsAllAtOnce) {
  script tree = three(strategy::one_for_one);
  tree.start_all();
  EXPECT_EQ(tree.stop(), "ask c");
  EXPECT_EQ(tree.tell(kill_requested{}), "kill a, kill b, kill c");
  EXPECT_EQ(tree.tell(kill_requested{}), "") << "killed once";
  EXPECT_EQ(tree.end_what_stops(), "stopped");
}

TEST(SupervisionStop, InABackoffNothingIsStartedAnyMore) {
  supervisor_rules rules;
  rules.limits.backoff = 1s;
  script tree{rules, script::specs({"a"})};
  tree.start_all();
  EXPECT_EQ(tree.end("a", end_cause::node_lost), "");
  EXPECT_EQ(tree.phase("a"), "pausing");
  EXPECT_EQ(tree.stop(), "stopped");
  EXPECT_EQ(tree.decides().next_time(), std::nullopt);
}

TEST(SupervisionStop, BeforeTheStartEndsAtOnce) {
  script tree = three(strategy::one_for_one);
  EXPECT_EQ(tree.stop(), "stopped");
  EXPECT_EQ(tree.start(), "");
}

// Strategies: FAULTS F03.

TEST(Strategies, OneForOneRestartsTheOneAlone) {
  script tree = three(strategy::one_for_one);
  tree.start_all();
  EXPECT_EQ(tree.end("b"), "start b");
  EXPECT_EQ(tree.run("a"), 1U);
  EXPECT_EQ(tree.run("c"), 1U);
}

TEST(Strategies, OneForAllStopsTheOthersInReverseThenStartsAllInOrder) {
  script tree = three(strategy::one_for_all);
  tree.start_all();
  EXPECT_EQ(tree.end("b"), "ask c");
  EXPECT_EQ(tree.end("c"), "ask a");
  EXPECT_EQ(tree.end("a"), "start a") << "no old one is left when the first begins";
  EXPECT_EQ(tree.ready("a"), "start b");
  EXPECT_EQ(tree.ready("b"), "start c");
  EXPECT_EQ(tree.ready("c"), "") << "it told already that it is ready";
}

TEST(Strategies, RestForOneTakesThoseThatWereStartedLater) {
  script tree = three(strategy::rest_for_one);
  tree.start_all();
  EXPECT_EQ(tree.end("b"), "ask c");
  EXPECT_EQ(tree.end("c"), "start b");
  EXPECT_EQ(tree.ready("b"), "start c");
  EXPECT_EQ(tree.run("a"), 1U);
}

TEST(Strategies, RestIsByTheOrderOfStartsNotOfAdding) {
  script tree{script::rules(strategy::rest_for_one),
              {{.name = "web", .after = {"db"}}, {.name = "db"}}};
  tree.start_all();
  EXPECT_EQ(tree.end("db"), "ask web");
  EXPECT_EQ(tree.end("web"), "start db");
  EXPECT_EQ(tree.ready("db"), "start web");
  tree.ready("web");
  EXPECT_EQ(tree.end("web"), "start web") << "db was started earlier";
}

TEST(Strategies, AnEarlierDeathMakesTheRestLarger) {
  script tree = three(strategy::rest_for_one);
  tree.start_all();
  EXPECT_EQ(tree.end("b"), "ask c");
  EXPECT_EQ(tree.end("a"), "") << "c is still waited for";
  EXPECT_EQ(tree.end("c"), "start a");
  EXPECT_EQ(tree.ready("a"), "start b");
  EXPECT_EQ(tree.decides().picture(tree.now()).counted, 2);
}

TEST(Strategies, ADeathOfOneThatIsToBeStoppedAnywayCostsNothing) {
  script tree = three(strategy::one_for_all);
  tree.start_all();
  EXPECT_EQ(tree.end("a"), "ask c");
  EXPECT_EQ(tree.end("b"), "");
  EXPECT_EQ(tree.end("c"), "start a");
  EXPECT_EQ(tree.decides().picture(tree.now()).counted, 1);
}

TEST(Strategies, ADeathWhileTheGroupComesUpTakesItDownAgain) {
  script tree = three(strategy::one_for_all);
  tree.start_all();
  tree.end("c");
  tree.end_what_stops();
  tree.ready("a");
  EXPECT_EQ(tree.end("a"), "ask b") << "b was starting";
  EXPECT_EQ(tree.end("b"), "start a");
  EXPECT_EQ(tree.decides().picture(tree.now()).counted, 2);
}

TEST(Strategies, AFailedStartIsRepeatedAlone) {
  script tree = three(strategy::one_for_all);
  tree.start_all();
  tree.end("c");
  tree.end_what_stops();
  tree.ready("a");
  EXPECT_EQ(tree.end("b", end_cause::threw), "start b");
  EXPECT_EQ(tree.run("a"), 2U);
  EXPECT_EQ(tree.ready("b"), "start c");
}

TEST(Strategies, TemporarySiblingsAreStoppedAndForgotten) {
  script tree{script::rules(strategy::one_for_all), {{.name = "a"}, temporary("b"), {.name = "c"}}};
  tree.start_all();
  EXPECT_EQ(tree.end("c"), "ask b");
  EXPECT_EQ(tree.end("b"), "forget b, ask a");
  EXPECT_EQ(tree.end("a"), "start a");
  EXPECT_EQ(tree.ready("a"), "start c");
}

TEST(Strategies, AChildThatHadFinishedIsStartedWithItsGroupAgain) {
  script tree = three(strategy::one_for_all, restart::transient);
  tree.start_all();
  EXPECT_EQ(tree.end("a", end_cause::finished), "");
  EXPECT_EQ(tree.end("b"), "ask c");
  EXPECT_EQ(tree.end("c"), "start a");
}

TEST(Strategies, AChildThatTheUserStoppedStaysSo) {
  script tree = three(strategy::one_for_all);
  tree.start_all();
  EXPECT_EQ(tree.stop_child("a"), "ask a");
  EXPECT_EQ(tree.end("a"), "1: done");
  EXPECT_EQ(tree.end("b"), "ask c");
  EXPECT_EQ(tree.end("c"), "start b");
  EXPECT_EQ(tree.phase("a"), "stopped");
}

TEST(Strategies, TheWholeGroupWaitsForTheBackoff) {
  supervisor_rules rules = script::rules(strategy::one_for_all);
  rules.limits.backoff = rules.limits.max_backoff = 1s;
  rules.limits.jitter = 0;
  script tree{rules, script::specs({"a", "b"})};
  tree.start_all();
  EXPECT_EQ(tree.end("b", end_cause::fork_server), "ask a");
  EXPECT_EQ(tree.end("a"), "");
  EXPECT_EQ(tree.pass(999ms), "");
  EXPECT_EQ(tree.pass(1ms), "start a");
  EXPECT_EQ(tree.ready("a"), "start b");
}

TEST(Strategies, DynamicChildrenComeLastAndTogether) {
  script tree = three(strategy::rest_for_one);
  tree.start_all();
  tree.add({.name = "x"});
  tree.ready("x");
  tree.add({.name = "y"});
  tree.ready("y");
  EXPECT_EQ(tree.end("x"), "ask y");
  EXPECT_EQ(tree.end("y"), "start x, start y");
  tree.ready("y");
  tree.ready("x");
  EXPECT_EQ(tree.end("c"), "ask x, ask y");
  tree.end("x");
  EXPECT_EQ(tree.end("y"), "start c");
  EXPECT_EQ(tree.ready("c"), "start x, start y");
}

// Giving up: FAULTS F01, F10.

TEST(GivingUp, OneMoreThanTheIntensityStopsAllInReverse) {
  script tree{script::rules(strategy::one_for_one, 2), script::specs({"a", "b", "c"})};
  tree.start_all();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(tree.end("b"), "start b");
    tree.ready("b");
  }
  EXPECT_EQ(tree.end("b"), "ask c");
  EXPECT_EQ(tree.end("c"), "ask a");
  EXPECT_EQ(tree.end("a"), "gave up: intensity");
  EXPECT_EQ(tree.ended().child, tree.id("b"));
  EXPECT_EQ(tree.ended().cause, end_cause::signal);
  EXPECT_EQ(cause_of(tree.ended()), end_cause::gave_up);
}

TEST(GivingUp, IsForgottenAfterThePeriod) {
  supervisor_rules rules = script::rules(strategy::one_for_one, 1);
  rules.limits.period = 1s;
  script tree{rules, script::specs({"a"})};
  tree.start_all();
  for (int i = 0; i < 100; ++i) {
    tree.pass(2100ms);
    EXPECT_EQ(tree.end("a"), "start a");
    tree.ready("a");
  }
}

TEST(GivingUp, IntensityZeroAllowsNoRestart) {
  script tree{script::rules(strategy::one_for_one, 0), script::specs({"a"})};
  tree.start_all();
  EXPECT_EQ(tree.end("a"), "gave up: intensity");
}

TEST(GivingUp, ForeverNeverDoes) {
  supervisor_rules rules;
  rules.limits = restart_forever(30s);
  script tree{rules, script::specs({"a"})};
  tree.start_all();
  for (int i = 0; i < 1000; ++i) {
    tree.end("a", i % 2 == 0 ? end_cause::signal : end_cause::node_lost);
    tree.pass(30s);
    EXPECT_EQ(tree.phase("a"), "starting") << i;
    if (i % 3 != 0) {
      tree.ready("a");
    }
  }
}

TEST(GivingUp, TenForgivenInARowAreToldTheParent) {
  script tree{script::rules(strategy::one_for_one, 0), script::specs({"a"})};
  tree.start_all();
  for (int i = 1; i <= 9; ++i) {
    EXPECT_EQ(tree.end("a", end_cause::node_lost), "start a") << i;
    EXPECT_EQ(tree.decides().picture(tree.now()).children.front().forgiven, i);
    tree.ready("a");
  }
  EXPECT_EQ(tree.end("a", end_cause::node_lost), "gave up: forgiven");
}

TEST(GivingUp, AStableRunBreaksTheRowOfForgiven) {
  script tree{script::rules(strategy::one_for_one, 0), script::specs({"a"})};
  tree.start_all();
  for (int i = 0; i < 100; ++i) {
    if (i % 9 == 8) {
      tree.pass(10s);
    }
    EXPECT_EQ(tree.end("a", end_cause::node_lost), "start a") << i;
    tree.ready("a");
  }
}

TEST(GivingUp, ASupervisorBelowFollowsItsParentsStrategy) {
  script top = three(strategy::rest_for_one);
  top.start_all();
  script below{script::rules(strategy::one_for_one, 0), script::specs({"w"})};
  below.start_all();
  EXPECT_EQ(below.end("w"), "gave up: intensity");
  EXPECT_EQ(top.end("b", cause_of(below.ended())), "ask c");
  EXPECT_EQ(top.end("c"), "start b");
}

TEST(GivingUp, ATransientSupervisorThatGaveUpIsStartedAgain) {
  script top = three(strategy::one_for_one, restart::transient);
  top.start_all();
  EXPECT_EQ(top.end("b", end_cause::gave_up), "start b") << "not as in OTP, see the docs";
}

// Significant children.

script with_significant(auto_shutdown how, restart type) {
  supervisor_rules rules = script::rules(strategy::one_for_one);
  rules.auto_shutdown = how;
  return {rules,
          {{.name = "a", .restart = type, .significant = true},
           {.name = "b", .restart = type, .significant = true},
           {.name = "c"}}};
}

TEST(AutoShutdown, AnyStopsWithTheFirst) {
  script tree = with_significant(auto_shutdown::any, restart::transient);
  tree.start_all();
  EXPECT_EQ(tree.end("a", end_cause::finished), "ask c");
  EXPECT_EQ(tree.end("c"), "ask b");
  EXPECT_EQ(tree.end("b"), "auto-shutdown");
  EXPECT_EQ(cause_of(tree.ended()), end_cause::finished);
}

TEST(AutoShutdown, AllStopsWithTheLast) {
  script tree = with_significant(auto_shutdown::all, restart::transient);
  tree.start_all();
  EXPECT_EQ(tree.end("a", end_cause::finished), "");
  EXPECT_EQ(tree.end("b", end_cause::finished), "ask c");
}

TEST(AutoShutdown, ARestartIsNoEnd) {
  script tree = with_significant(auto_shutdown::any, restart::transient);
  tree.start_all();
  EXPECT_EQ(tree.end("a", end_cause::signal), "start a");
}

TEST(AutoShutdown, ATemporaryOnesCrashIsAnEnd) {
  script tree = with_significant(auto_shutdown::any, restart::temporary);
  tree.start_all();
  EXPECT_EQ(tree.end("a", end_cause::signal), "forget a, ask c");
}

TEST(AutoShutdown, WhatTheUserStopsIsNone) {
  script tree = with_significant(auto_shutdown::any, restart::transient);
  tree.start_all();
  tree.stop_child("a");
  EXPECT_EQ(tree.end("a"), "1: done");
  EXPECT_EQ(tree.end("b", end_cause::finished), "ask c");
}

// Dynamic children and requests.

TEST(Requests, ADynamicChildDoesNotWaitForOthers) {
  script tree = three(strategy::one_for_one);
  tree.start_all();
  EXPECT_EQ(tree.add({.name = "x"}), "start x");
  EXPECT_EQ(tree.add({.name = "y"}), "start y");
  EXPECT_EQ(tree.ready("y"), "2: done");
  EXPECT_EQ(tree.ready("x"), "1: done");
}

TEST(Requests, WhatCannotBeAddedIsRefused) {
  supervisor_rules rules = script::rules(strategy::one_for_one);
  rules.max_children = 1;
  script tree{rules, script::specs({"a"})};
  EXPECT_EQ(tree.add({.name = "x"}), "1: not running");
  tree.start_all();
  EXPECT_EQ(tree.add({.name = "a"}), "2: duplicate name");
  EXPECT_EQ(tree.add({.name = "a/b"}), "3: invalid");
  EXPECT_EQ(tree.add({.name = "x", .after = {"none"}}), "4: invalid");
  EXPECT_EQ(tree.add({.name = "x", .after = {"a"}}), "start x");
  EXPECT_EQ(tree.add({.name = "y"}), "6: too many");
  tree.ready("x");
  tree.remove("x");
  tree.end("x");
  EXPECT_EQ(tree.add({.name = "y"}), "start y");
  tree.stop();
  EXPECT_EQ(tree.add({.name = "z"}), "9: supervisor stopping");
}

TEST(Requests, AFailedFirstStartForgetsTheChildAndCostsNothing) {
  script tree{script::rules(strategy::one_for_one, 0), {}};
  tree.start();
  tree.add({.name = "x"});
  EXPECT_EQ(tree.end("x", end_cause::threw), "1: start failed, forget x");
}

TEST(Requests, DynamicChildrenThatAreDoneAreForgotten) {
  script tree{script::rules(strategy::one_for_one), {}};
  tree.start();
  tree.add({.name = "x", .restart = restart::transient});
  tree.ready("x");
  EXPECT_EQ(tree.end("x", end_cause::finished), "forget x");
  EXPECT_EQ(tree.decides().count().specs, 0U);
}

TEST(Requests, RemoveStopsFirst) {
  script tree = three(strategy::one_for_all);
  tree.start_all();
  EXPECT_EQ(tree.remove("b"), "ask b");
  EXPECT_EQ(tree.restart_child("b"), "2: being removed");
  EXPECT_EQ(tree.end("b"), "1: done, forget b") << "the others are left alone";
  EXPECT_EQ(tree.remove("b"), "3: unknown name");
}

TEST(Requests, RestartOfARunningChildCostsNothing) {
  script tree{script::rules(strategy::one_for_all, 0), script::specs({"a", "b"})};
  tree.start_all();
  EXPECT_EQ(tree.restart_child("a"), "ask a");
  EXPECT_EQ(tree.end("a"), "start a") << "the others are left alone";
  EXPECT_EQ(tree.ready("a"), "1: done");
  EXPECT_EQ(tree.child("a").last_end, end_cause::restarted_by_user);
}

TEST(Requests, RestartOfAStoppedChild) {
  script tree = three(strategy::one_for_one);
  tree.start_all();
  tree.stop_child("a");
  EXPECT_EQ(tree.restart_child("a"), "") << "once it has stopped";
  EXPECT_EQ(tree.end("a"), "1: done, start a");
  EXPECT_EQ(tree.ready("a"), "2: done");
  tree.stop_child("a");
  tree.end("a");
  EXPECT_EQ(tree.restart_child("a"), "start a");
  EXPECT_EQ(tree.end("a"), "4: start failed");
  EXPECT_EQ(tree.phase("a"), "stopped");
}

TEST(Requests, RestartEndsABackoff) {
  supervisor_rules rules = script::rules(strategy::one_for_all);
  rules.limits.backoff = rules.limits.max_backoff = 60s;
  script tree{rules, script::specs({"a", "b"})};
  tree.start_all();
  tree.end("b", end_cause::node_lost);
  tree.end("a");
  EXPECT_EQ(tree.restart_child("b"), "start a");
  EXPECT_EQ(tree.ready("a"), "start b");
  EXPECT_EQ(tree.ready("b"), "1: done");
}

TEST(Requests, AddedDuringAGroupRestartComesAtItsEnd) {
  script tree = three(strategy::one_for_all);
  tree.start_all();
  tree.end("b");
  EXPECT_EQ(tree.add({.name = "x"}), "");
  EXPECT_EQ(tree.end("c"), "ask a");
  EXPECT_EQ(tree.end("a"), "start a");
  tree.ready("a");
  tree.ready("b");
  EXPECT_EQ(tree.ready("c"), "start x");
  EXPECT_EQ(tree.ready("x"), "1: done");
}

TEST(Requests, RemovedDuringAGroupRestartIsNotStartedAgain) {
  script tree = three(strategy::one_for_all);
  tree.start_all();
  EXPECT_EQ(tree.end("b"), "ask c");
  EXPECT_EQ(tree.remove("b"), "1: done, forget b");
  EXPECT_EQ(tree.remove("c"), "");
  EXPECT_EQ(tree.end("c"), "2: done, forget c, ask a");
  EXPECT_EQ(tree.end("a"), "start a");
}

TEST(Requests, TheLastOfAGroupRemovedWhileItStartsEndsTheSweep) {
  script tree = three(strategy::one_for_one);
  tree.start();
  EXPECT_EQ(tree.remove("a"), "ask a");
  EXPECT_EQ(tree.end("a"), "1: done, forget a, start b");
}

TEST(Requests, StopOfAChildInABackoff) {
  supervisor_rules rules = script::rules(strategy::rest_for_one);
  rules.limits.backoff = rules.limits.max_backoff = 60s;
  script tree{rules, script::specs({"a", "b"})};
  tree.start_all();
  tree.end("a", end_cause::node_lost);
  EXPECT_EQ(tree.end("b"), "");
  EXPECT_EQ(tree.stop_child("a"), "1: done, start b") << "nothing is waited for any more";
}

// Late news and pictures.

TEST(Supervision, IgnoresWhatIsSaidOfAnotherRun) {
  script tree = three(strategy::one_for_one);
  tree.start_all();
  tree.end("a");
  EXPECT_EQ(tree.tell(child_ended{tree.id("a"), 1, end_cause::signal}), "");
  EXPECT_EQ(tree.tell(child_ready{tree.id("a"), 1}), "");
  EXPECT_EQ(tree.phase("a"), "starting");
  EXPECT_EQ(tree.tell(child_ended{999, 1, end_cause::signal}), "");
}

TEST(Supervision, AVersionIsOnePicture) {
  script tree = three(strategy::one_for_one);
  const std::uint64_t before = tree.decides().version();
  tree.start();
  EXPECT_GT(tree.decides().version(), before);
  const supervision_picture picture = tree.decides().picture(tree.now());
  EXPECT_EQ(picture.version, tree.decides().version());
  ASSERT_EQ(picture.children.size(), 3U);
  EXPECT_EQ(picture.children[0].name, "a");
  EXPECT_EQ(picture.children[0].phase, child_phase::starting);
  EXPECT_EQ(tree.decides().count().active, 1U);
  EXPECT_EQ(tree.decides().count().running, 0U);
}

TEST(Supervision, ManyChildrenWithTheSameTimeComeInTheOrderTheyWereAdded) {
  script tree{script::rules(strategy::one_for_one), {}};
  tree.start();
  for (const char* name : {"x", "y", "z"}) {
    tree.add({.name = name, .start_timeout = 1s});
  }
  EXPECT_EQ(tree.pass(1s), "kill x, kill y, kill z");
}

/// The best of several runs of 20,000 deaths, so that other load does not count.
std::chrono::nanoseconds best_time_with(int children) {
  script tree{script::rules(strategy::one_for_one, 1'000'000), {}};
  tree.start();
  std::vector<std::string> names;
  for (int i = 0; i < children; ++i) {
    names.push_back("child" + std::to_string(i));
    tree.add({.name = names.back()});
    tree.ready(names.back());
  }
  auto best = std::chrono::nanoseconds::max();
  for (int run = 0; run < 5; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 4'000; ++i) {
      const std::string& name = names[static_cast<std::size_t>(i * 7919) % names.size()];
      tree.end(name);
      tree.ready(name);
    }
    best = std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - begin);
  }
  return best;
}

TEST(Supervision, TenThousandChildrenDoNotCostAnEventTenTimesWhatAThousandDo) {
  EXPECT_LT(best_time_with(10'000), 8 * best_time_with(1'000));
}

}  // namespace
}  // namespace troupe::detail
