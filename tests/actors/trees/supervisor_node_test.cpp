// SPDX-License-Identifier: BSD-3-Clause
// A supervisor's decisions, carried out on children that are no processes, in virtual time.
#include "trees/supervisor_node.hpp"

#include "fake_tree.hpp"
#include "trees/supervisor_core.hpp"
#include "trees/supervisor_engine.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

supervisor_rules rules(strategy how = strategy::one_for_one, int intensity = 5) {
  supervisor_rules made;
  made.strategy = how;
  made.limits.intensity = intensity;
  made.limits.jitter = 0;
  return made;
}

TEST(SupervisorNode, StartsEachChildWhenTheOneBeforeIsReady) {
  fake_tree tree{rules(), {{.name = "a"}, {.name = "b"}}};
  EXPECT_EQ(tree.start(), "start a");
  EXPECT_EQ(tree.ready("a"), "start b");
  EXPECT_FALSE(tree.is_ready());
  EXPECT_EQ(tree.ready("b"), "");
  EXPECT_TRUE(tree.is_ready());
}

TEST(SupervisorNode, StopsInReverseOrderAndWaitsForEach) {
  fake_tree tree{rules(), {{.name = "a"}, {.name = "b"}}};
  tree.start();
  tree.ready("a");
  tree.ready("b");
  EXPECT_EQ(tree.stop(), "ask b");
  EXPECT_EQ(tree.end("b"), "ask a");
  EXPECT_FALSE(tree.outcome());
  EXPECT_EQ(tree.end("a"), "");
  ASSERT_TRUE(tree.outcome());
  EXPECT_EQ(tree.outcome()->how, supervisor_end::stopped);
}

TEST(SupervisorNode, AChildThatDoesNotStopInTimeIsKilled) {
  fake_tree tree{rules(), {{.name = "a", .shutdown = 2s}}};
  tree.start();
  tree.ready("a");
  EXPECT_EQ(tree.stop(), "ask a");
  EXPECT_EQ(tree.pass(1999ms), "");
  EXPECT_EQ(tree.pass(1ms), "kill a");
  EXPECT_EQ(tree.events().back().kind, supervisor_event_kind::killed);
  EXPECT_TRUE(tree.events().back().asked);
}

TEST(SupervisorNode, AChildThatIsNotReadyInTimeIsKilledAndNothingBehindItBegins) {
  fake_tree tree{rules(), {{.name = "a", .start_timeout = 3s}, {.name = "b"}}};
  tree.start();
  EXPECT_EQ(tree.pass(3s), "kill a");
  EXPECT_EQ(tree.end("a"), "start a");
  EXPECT_EQ(tree.child("a").last_death->cause, end_cause::start_limit);
  EXPECT_EQ(tree.child("b").phase, child_phase::waiting);
}

TEST(SupervisorNode, AStartThatThrowsIsAFailedStartWithItsText) {
  fake_tree tree{rules(), {{.name = "a"}}};
  tree.children().refuse_next("a");
  EXPECT_EQ(tree.start(), "start a, start a");
  EXPECT_EQ(tree.child("a").last_death, (child_death{end_cause::threw, "no"}));
  EXPECT_EQ(tree.child("a").budget, "1 of 5");
}

TEST(SupervisorNode, ThePictureTellsTheBudgetAndTheLastDeath) {
  fake_tree tree{rules(), {{.name = "a"}}};
  tree.start();
  tree.ready("a");
  const std::uint64_t version = tree.node().picture().version;
  tree.end("a", end_cause::signal, "SIGSEGV (signal 11)");
  tree.ready("a");
  tree.end("a", end_cause::fork_server);
  const child_status seen = tree.child("a");
  EXPECT_EQ(seen.budget, "1 of 5, 1 forgiven");
  EXPECT_EQ(seen.phase, child_phase::pausing);
  EXPECT_EQ(seen.last_death->cause, end_cause::fork_server);
  EXPECT_EQ(seen.incarnation, 2U);
  EXPECT_EQ(seen.restarts, 1);
  EXPECT_EQ(seen.kind, "fake");
  EXPECT_GT(tree.node().picture().version, version);
  EXPECT_EQ(tree.pass(20ms), "start a");
}

TEST(SupervisorNode, WhatAnEarlierRunSaysIsIgnored) {
  fake_tree tree{rules(), {{.name = "a"}}};
  tree.start();
  tree.ready("a");
  const child_run first = tree.children().run("a");
  EXPECT_EQ(tree.end("a"), "start a");
  first.events.ready();
  first.events.ended({end_cause::signal, {}});
  EXPECT_EQ(tree.log(), "");
  EXPECT_EQ(tree.child("a").phase, child_phase::starting);
}

TEST(SupervisorNode, GivesUpAndSaysOverWhichChild) {
  fake_tree tree{rules(strategy::one_for_one, 0), {{.name = "a"}, {.name = "b"}}};
  tree.start();
  tree.ready("a");
  tree.ready("b");
  EXPECT_EQ(tree.end("b", end_cause::exit_code, "exit code 3"), "ask a");
  tree.end("a");
  ASSERT_TRUE(tree.outcome());
  EXPECT_EQ(tree.outcome()->how, supervisor_end::gave_up);
  EXPECT_EQ(tree.outcome()->child, "b");
  EXPECT_EQ(tree.outcome()->death, (child_death{end_cause::exit_code, "exit code 3"}));
  EXPECT_EQ(tree.outcome()->text,
            "child 'b' ended (exit_code: exit code 3): over limits.intensity");
}

TEST(SupervisorNode, AnAutomaticShutdownNamesTheChildThoughItIsForgotten) {
  supervisor_rules how = rules();
  how.auto_shutdown = auto_shutdown::any;
  fake_tree tree{how, {{.name = "job", .restart = restart::temporary, .significant = true}}};
  tree.start();
  tree.ready("job");
  tree.end("job", end_cause::finished);
  ASSERT_TRUE(tree.outcome());
  EXPECT_EQ(tree.outcome()->how, supervisor_end::auto_shutdown);
  EXPECT_EQ(tree.outcome()->child, "job");
}

TEST(SupervisorNode, AnAddedChildIsStartedAndItsCallerWaitsUntilItIsReady) {
  fake_tree tree{rules(), {}};
  tree.start();
  bool told = false;
  const request_result done =
      tree.ask([&](supervisor_node& node) { return node.add(tree.children().make({.name = "x"})); },
               [&] {
                 if (!told && !tree.node().picture().children.empty()) {
                   told = true;
                   tree.children().ready("x");
                 }
               });
  EXPECT_EQ(done.outcome, request_outcome::done);
  EXPECT_TRUE(tree.child("x").dynamic);
}

TEST(SupervisorNode, AnAddedChildThatCannotStartIsForgottenAndItsCallerIsToldWhy) {
  fake_tree tree{rules(), {}};
  tree.start();
  tree.children().refuse_next("x");
  const definition_ptr made = tree.children().make({.name = "x"});
  const request_result failed = tree.ask([&](supervisor_node& node) { return node.add(made); });
  EXPECT_EQ(failed.outcome, request_outcome::start_failed);
  EXPECT_EQ(failed.death, (child_death{end_cause::threw, "no"}));
  EXPECT_TRUE(tree.node().picture().children.empty());
  tree.children().cooperate();
  EXPECT_EQ(tree.ask([&](supervisor_node& node) { return node.add(made); }).outcome,
            request_outcome::done);
  EXPECT_EQ(tree.ask([&](supervisor_node& node) { return node.add(made); }).outcome,
            request_outcome::duplicate_name);
}

TEST(SupervisorNode, RequestsAfterTheEndAreRefused) {
  fake_tree tree{rules(), {{.name = "a"}}};
  tree.children().cooperate();
  tree.start();
  tree.stop();
  ASSERT_TRUE(tree.outcome());
  EXPECT_EQ(tree.ask([](supervisor_node& node) { return node.restart_child("a"); }).outcome,
            request_outcome::supervisor_stopping);
}

TEST(SupervisorNode, TheUserStopsRestartsAndRemovesAChild) {
  fake_tree tree{rules(), {{.name = "a"}}};
  tree.children().cooperate();
  tree.start();
  EXPECT_EQ(tree.ask([](supervisor_node& node) { return node.stop_child("a"); }).outcome,
            request_outcome::done);
  EXPECT_EQ(tree.child("a").last_death->cause, end_cause::stopped_by_user);
  EXPECT_EQ(tree.child("a").phase, child_phase::stopped);
  EXPECT_EQ(tree.ask([](supervisor_node& node) { return node.restart_child("a"); }).outcome,
            request_outcome::done);
  EXPECT_EQ(tree.child("a").budget, "0 of 5") << "what the user asks for costs nothing";
  EXPECT_EQ(tree.ask([](supervisor_node& node) { return node.remove("a"); }).outcome,
            request_outcome::done);
  EXPECT_EQ(tree.ask([](supervisor_node& node) { return node.remove("a"); }).outcome,
            request_outcome::unknown_name);
}

TEST(SupervisorNode, AnIdleOneNeedsNoTimer) {
  fake_tree tree{rules(), {{.name = "a"}}};
  tree.start();
  tree.ready("a");
  tree.pass(2min);
  EXPECT_EQ(tree.loop().timers(), 0U);
}

TEST(SupervisorNode, TellsWhatHappensInItsOrder) {
  fake_tree tree{rules(strategy::one_for_one, 1), {{.name = "a"}}};
  tree.start();
  tree.ready("a");
  tree.end("a", end_cause::exit_code, "exit code 2");
  tree.ready("a");
  tree.end("a");
  std::string told;
  for (const supervisor_event& one : tree.events()) {
    told += std::string{to_string(one.kind)} + " " + std::to_string(one.incarnation) +
            (one.death ? " " + std::string{to_string(one.death->cause)} : "") + ", ";
  }
  EXPECT_EQ(told,
            "started 1, ready 1, ended 1 exit_code, restarted 2, ready 2, ended 2 signal, "
            "gave_up 0 signal, ");
}

// Supervisors below.

struct nested {
  nested(const supervisor_rules& above, int intensity_below, const std::vector<child_spec>& specs)
      : below{std::make_shared<supervisor_core>(
            supervisor_options{.limits = {.intensity = intensity_below, .jitter = 0}})},
        tree{above, {}} {
    for (const child_spec& one : specs) {
      below->add(tree.children().make(one));
    }
    definition = std::make_shared<const child_definition>(
        child_definition{{.name = "web", .shutdown = no_limit, .start_timeout = no_limit},
                         "supervisor",
                         [core = below](const child_run& how) {
                           return std::make_shared<supervisor_engine>(how, core);
                         },
                         below});
  }
  std::shared_ptr<supervisor_core> below;
  fake_tree tree;
  definition_ptr definition;
};

TEST(SupervisorNode, ASupervisorBelowIsReadyWhenItsChildrenAre) {
  nested n{rules(), 5, {{.name = "a"}, {.name = "b"}}};
  n.tree.start();
  bool done = false;
  n.tree.ask([&](supervisor_node& node) { return node.add(n.definition); },
             [&] {
               if (const auto seen = n.below->picture().children;
                   !done && seen.size() == 2 && seen[0].phase == child_phase::starting) {
                 done = true;
                 EXPECT_EQ(n.tree.log(), "start web/a");
                 EXPECT_EQ(n.tree.ready("web/a"), "start web/b");
                 EXPECT_EQ(n.tree.child("web").phase, child_phase::starting);
                 n.tree.ready("web/b");
               }
             });
  EXPECT_TRUE(n.tree.child("web").ready);
  EXPECT_EQ(n.tree.child("web").kind, "supervisor");
}

TEST(SupervisorNode, ASupervisorBelowThatGivesUpIsADeathAboveAndIsStartedAnew) {
  nested n{rules(), 0, {{.name = "a"}, {.name = "b"}}};
  n.tree.children().cooperate();
  n.tree.start();
  n.tree.ask([&](supervisor_node& node) { return node.add(n.definition); });
  EXPECT_EQ(n.tree.log(), "start web/a, start web/b");
  EXPECT_EQ(n.tree.end("web/b"), "ask web/a, start web/a, start web/b");
  const child_status web = n.tree.child("web");
  EXPECT_EQ(web.last_death->cause, end_cause::gave_up);
  EXPECT_EQ(web.restarts, 1);
  EXPECT_EQ(web.budget, "1 of 5");
}

TEST(SupervisorNode, AStopGoesThroughSupervisorsBelow) {
  nested n{rules(), 5, {{.name = "a"}, {.name = "b"}}};
  n.tree.children().cooperate();
  n.tree.start();
  n.tree.ask([&](supervisor_node& node) { return node.add(n.definition); });
  n.tree.log();
  EXPECT_EQ(n.tree.stop(), "ask web/b, ask web/a");
  EXPECT_TRUE(n.tree.outcome());
}

}  // namespace
}  // namespace troupe::detail
