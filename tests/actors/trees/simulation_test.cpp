// SPDX-License-Identifier: BSD-3-Clause
// Trees of the user in virtual time.
#include "troupe/supervisor.hpp"
#include "troupe/task.hpp"
#include "troupe/testing.hpp"
#include "troupe/this_service.hpp"

#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

using namespace std::chrono_literals;

void serve() {}
std::vector<std::string> said;  // by the services of the test that runs

// `sleep_for` waits in virtual time: nothing here takes longer than a few steps.
task<void> tick() {
  this_service::ready();
  for (;;) {
    co_await troupe::sleep_for(1h);
    said.emplace_back("tick");
  }
}
task<void> fail_after_a_minute() {
  this_service::ready();
  co_await troupe::sleep_for(1min);
  throw std::runtime_error{"the disk is gone"};
}
task<void> beat_for_an_hour() {
  this_service::ready();
  for (int i = 0; i < 3600; ++i) {
    co_await troupe::sleep_for(1s);
    this_service::heartbeat();
  }
  co_await troupe::sleep_for(24h);
}
task<void> block() {
  this_service::ready();
  static_cast<void>(this_service::sleep_for(1s));
  co_return;
}

supervisor_options of(strategy how, int intensity = 3) {
  supervisor_options made{.strategy = how};
  made.limits.intensity = intensity;
  made.limits.period = 10s;
  return made;
}
std::vector<std::string> text_of(const simulation& test) {
  std::vector<std::string> lines;
  for (const auto& one : test.happened()) {
    lines.push_back(to_string(one));
  }
  return lines;
}

TEST(Simulation, StartsAndStopsATreeInItsOrder) {
  supervisor tree;
  tree.add(child_process("a", serve));
  tree.add(child_pool("b", {.workers = 2}));
  simulation test{tree};
  EXPECT_TRUE(test.start());
  tree.stop();
  EXPECT_EQ(text_of(test),
            (std::vector<std::string>{"0ms a started", "0ms a ready", "0ms b started",
                                      "0ms b ready", "0ms b ended: finished",
                                      "0ms a ended: finished", "0ms the tree stopped"}));
  EXPECT_TRUE(test.outcome()->ok());
}

TEST(Simulation, ADeathIsFollowedByWhatTheStrategySays) {
  supervisor tree{of(strategy::rest_for_one)};
  tree.add(child_process("a", serve));
  tree.add(child_process("b", serve));
  tree.add(child_process("c", serve));
  simulation test{tree};
  test.start();
  test.kill("b");
  test.run_for(1s);
  EXPECT_EQ(tree.child("a").incarnation, 1U);
  EXPECT_EQ(tree.child("b").incarnation, 2U);
  EXPECT_EQ(tree.child("c").incarnation, 2U);
  EXPECT_EQ(tree.child("b").last_death->cause, end_cause::signal);
}

TEST(Simulation, AnHourOfBackoffTakesNoTime) {
  supervisor_options how;
  how.limits.intensity = 100;
  how.limits.backoff = 1h;
  how.limits.max_backoff = 1h;
  how.limits.jitter = 0;
  supervisor tree{how};
  tree.add(child_process("a", serve));
  simulation test{tree};
  test.start();
  test.kill("a");
  test.kill("a");
  EXPECT_EQ(tree.child("a").phase, child_phase::pausing);
  test.run_for(1h);
  EXPECT_TRUE(tree.child("a").ready);
  EXPECT_EQ(test.now(), 1h);
}

TEST(Simulation, ServicesThatAreCoroutinesRunInVirtualTime) {
  said.clear();
  supervisor tree;
  tree.add(child_service("tick", tick));
  simulation test{tree};
  test.start();
  test.run_for(10h);
  EXPECT_EQ(said.size(), 10U);
  tree.stop();
  EXPECT_EQ(test.happened().back().event.kind, supervisor_event_kind::stopped);
  EXPECT_EQ(test.now(), 10h) << "a stop cancels its sleep";
}

TEST(Simulation, WhatACoroutineThrowsIsItsDeath) {
  supervisor tree;
  tree.add(child_service("feed", fail_after_a_minute));
  simulation test{tree};
  test.start();
  test.run_for(90s);
  EXPECT_EQ(tree.child("feed").incarnation, 2U);
  EXPECT_EQ(tree.child("feed").last_death->cause, end_cause::threw);
}

TEST(Simulation, AWatchdogIsInVirtualTimeToo) {
  supervisor tree{of(strategy::one_for_one, 100)};
  tree.add(child_service("feed", beat_for_an_hour, {.watchdog = 5s}));
  simulation test{tree};
  test.start();
  test.run_for(1h);
  EXPECT_EQ(tree.child("feed").incarnation, 1U);
  test.run_for(10s);
  EXPECT_EQ(tree.child("feed").incarnation, 2U);
  EXPECT_EQ(tree.child("feed").last_death->cause, end_cause::missed_heartbeat);
}

TEST(Simulation, StandInsBehaveAsTheTestSays) {
  supervisor tree{of(strategy::one_for_one, 1)};
  tree.add(child_process("slow", serve));
  tree.add(child_process("short", serve));
  simulation test{tree};
  test.behave("slow", {.ready_after = 20s, .stops_after = 3s});
  test.behave("short", {.ends_after = 2s, .ends_with = end_cause::own_memory});
  EXPECT_TRUE(test.start());
  EXPECT_EQ(test.now(), 20s);
  test.run_for(1min);
  ASSERT_TRUE(test.outcome());
  EXPECT_EQ(test.outcome()->how, supervisor_end::gave_up);
  EXPECT_EQ(test.outcome()->child, "short");
  EXPECT_EQ(test.outcome()->death->cause, end_cause::own_memory);
}

TEST(Simulation, OneThatIsNeverReadyFailsTheStart) {
  supervisor tree;
  tree.add(child_process("mute", serve, {.start_timeout = 1h}));
  simulation test{tree};
  test.behave("mute", {.never_ready = true});
  EXPECT_FALSE(test.start());
  EXPECT_EQ(test.outcome()->death->cause, end_cause::start_limit);
}

TEST(Simulation, AChildDiesAtAnyEventAndTheTreeIsWholeInTheEnd) {
  for (std::size_t event = 1; event <= 12; ++event) {
    for (const char* victim : {"a", "web/b", "web/c"}) {
      supervisor web{of(strategy::one_for_all)};
      web.add(child_process("b", serve));
      web.add(child_service("c", tick));
      supervisor tree{of(strategy::rest_for_one)};
      tree.add(child_process("a", serve));
      tree.add(child_supervisor("web", web));
      simulation test{tree, {.seed = event}};
      test.kill_at(event, victim);
      EXPECT_TRUE(test.start()) << victim << " at " << event;
      test.run_for(1min);
      for (const char* each : {"a", "web", "web/b", "web/c"}) {
        EXPECT_TRUE(tree.child(each).ready) << each << ", " << victim << " at " << event;
      }
    }
  }
}

TEST(Simulation, TheSameSeedIsTheSameRunAndAnotherOneAnother) {
  const auto order = [](std::uint64_t seed) {
    supervisor tree;
    simulation test{tree, {.seed = seed}};
    test.start();
    for (int i = 0; i < 10; ++i) {
      tree.add(child_process(std::to_string(i), serve));
    }
    tree.stop();  // those that were added stop together
    return text_of(test);
  };
  EXPECT_EQ(order(1), order(1));
  EXPECT_NE(order(1), order(2));
}

TEST(Simulation, TheHandleWaitsInVirtualTime) {
  supervisor tree;
  simulation test{tree};
  test.behave("a", {.ready_after = 1h, .stops_after = 1s});
  test.start();
  tree.add(child_process("a", serve, {.start_timeout = no_limit}));
  EXPECT_EQ(test.now(), 1h);
  tree.restart_child("a");
  EXPECT_EQ(test.now(), 2h + 1s);
  tree.remove("a");
  EXPECT_EQ(tree.count().all, 0U);
}

TEST(Simulation, TheTreeCanBeLookedAtAndSimulatedAgainAfterwards) {
  supervisor tree;
  tree.add(child_service("tick", tick));
  for (std::uint64_t round = 1; round <= 2; ++round) {
    {
      simulation test{tree};
      test.start();
      EXPECT_EQ(tree.child("tick").incarnation, 1U);
    }
    EXPECT_FALSE(tree.running());
    EXPECT_FALSE(tree.child("tick").ready);
    EXPECT_EQ(tree.wait().how, supervisor_end::stopped);
  }
}

TEST(Simulation, RefusesWhatCannotBe) {
  supervisor wrong;
  wrong.add(child_process("a", serve, {.after = {"b"}}));
  EXPECT_THROW(simulation{wrong}, std::invalid_argument);
  supervisor tree;
  tree.add(child_process("a", serve));
  tree.add(child_service("blocks", block, {.restart = restart::transient}));
  simulation test{tree};
  test.start();
  EXPECT_THROW(test.kill("none of them"), std::invalid_argument);
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return test.start(); }));
  test.run_for(0ns);
  EXPECT_NE(tree.child("blocks").last_death->text.find("co_await troupe::sleep_for"),
            std::string::npos);
}

}  // namespace
}  // namespace troupe::test
