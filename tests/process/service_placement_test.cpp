// SPDX-License-Identifier: BSD-3-Clause
// Services in processes and on threads of the program: the same sentences hold for both.
#include "troupe/log.hpp"
#include "troupe/supervised_pool.hpp"
#include "troupe/supervisor.hpp"
#include "troupe/task.hpp"
#include "troupe/this_service.hpp"

#include "pool_fixture.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <latch>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

void serve(const std::string& running) {
  mark(running);
  this_service::ready();
  while (this_service::sleep_for(1h)) {
  }
  mark(running + " stopped");
}
task<void> serve_as_coroutine(std::string running) {
  mark(running);
  this_service::ready();
  try {
    co_await troupe::sleep_for(1h);
  } catch (...) {
    mark(running + " stopped");
    throw;
  }
}
void never_ready() {
  while (this_service::sleep_for(1h)) {
  }
}
/// Beats in its second run only.
task<void> beat_later() {
  this_service::ready();
  for (;;) {
    co_await troupe::sleep_for(5ms);
    if (this_service::incarnation() > 1) {
      this_service::heartbeat();
    }
  }
}
void throw_once(const std::string& running) {
  mark(running);
  this_service::ready();
  if (this_service::incarnation() == 1) {
    throw std::runtime_error{"the disk is gone"};
  }
  while (this_service::sleep_for(1h)) {
  }
}
task<void> throw_once_as_coroutine(std::string running) {
  mark(running);
  this_service::ready();
  if (this_service::incarnation() == 1) {
    throw std::runtime_error{"the disk is gone"};
  }
  co_await troupe::sleep_for(1h);
}
void tick(const std::string& ticks) {
  mark(ticks);
}
task<void> tick_as_coroutine(std::string ticks) {
  mark(ticks);
  co_return;
}
void fail_twice(const std::string& tries) {
  mark(tries);
  if (marks(tries) < 3) {
    throw std::runtime_error{"not yet"};
  }
}
void throw_at(const std::string& gate) {
  if (marks(gate) > 0) {
    throw std::runtime_error{"the disk is gone"};
  }
}
task<void> idle() {
  co_await troupe::sleep_for(1h);
}
int twice(int n) {
  return 2 * n;
}

restart_limits quick() {
  restart_limits made;
  made.intensity = 100;
  made.backoff = 1ms;
  return made;
}

struct ServicePlacement : pool_test, testing::WithParamInterface<placement> {
  ServicePlacement() {
    set_log_hook([](log_level, std::string_view) {});
  }
  ~ServicePlacement() override { set_log_hook({}); }
  [[nodiscard]] static supervisor_options options() {
    return {.limits = quick(), .placement = GetParam()};
  }
  static bool dies_of(const supervisor& tree, const std::string& path, end_cause cause) {
    return eventually([&] {
      const child_status seen = tree.child(path);
      return seen.last_death && seen.last_death->cause == cause;
    });
  }
};
INSTANTIATE_TEST_SUITE_P(In, ServicePlacement,
                         testing::Values(placement::processes, placement::in_process),
                         [](const auto& of) {
                           return of.param == placement::processes ? "Processes" : "Threads";
                         });

TEST_P(ServicePlacement, RunsUntilItsStopTokenIsSet) {
  supervisor tree{options()};
  tree.add(child_service("a", call(serve, file("a"))));
  tree.add(child_service("b", call(serve_as_coroutine, file("b"))));
  tree.start();
  EXPECT_EQ(marks(file("a")), 1U);
  EXPECT_EQ(marks(file("b")), 1U);
  EXPECT_EQ(tree.child("a").pid != 0, GetParam() == placement::processes);
  EXPECT_EQ(tree.child("b").pid != 0, GetParam() == placement::processes);
  tree.stop();
  EXPECT_EQ(marks(file("a") + " stopped"), 1U);
  EXPECT_EQ(marks(file("b") + " stopped"), 1U) << "a stop cancels what the coroutine waits for";
  EXPECT_EQ(tree.child("b").last_death->cause, end_cause::shutdown);
}

TEST_P(ServicePlacement, OneThatIsNeverReadyFailsTheStart) {
  supervisor tree{options()};
  tree.add(child_service("mute", never_ready, {.start_timeout = 20ms}));
  EXPECT_TRUE(fails_with(errc::start_timeout, [&] { return tree.start(), 0; }));
}

TEST_P(ServicePlacement, WhatItThrowsIsToldAndItIsStartedAgain) {
  supervisor tree{options()};
  tree.add(child_service("a", call(throw_once, file("a"))));
  tree.add(child_service("b", call(throw_once_as_coroutine, file("b"))));
  tree.start();
  for (const char* name : {"a", "b"}) {
    ASSERT_TRUE(eventually([&] { return tree.child(name).incarnation == 2; }));
    EXPECT_EQ(tree.child(name).last_death->cause, end_cause::threw);
    EXPECT_NE(tree.child(name).last_death->text.find("the disk is gone"), std::string::npos);
  }
}

TEST_P(ServicePlacement, OneThatMissesItsHeartbeatIsStartedAgain) {
  supervisor tree{options()};
  tree.add(child_service("feed", beat_later, {.watchdog = 300ms}));
  tree.start();
  EXPECT_TRUE(dies_of(tree, "feed", end_cause::missed_heartbeat));
  EXPECT_TRUE(eventually([&] { return tree.child("feed").ready; }));
}

TEST_P(ServicePlacement, AProbeThatThrowsEndsIt) {
  supervisor tree{options()};
  tree.add(child_service("a", call(serve, file("a")),
                         {.probe = call(throw_at, file("gate")), .probe_interval = 1ms}));
  tree.start();
  mark(file("gate"));
  EXPECT_TRUE(dies_of(tree, "a", end_cause::failed_probe));
  EXPECT_NE(tree.child("a").last_death->text.find("the disk is gone"), std::string::npos);
}

TEST_P(ServicePlacement, AJobIsTriedUntilItSucceedsAndWhatComesAfterItWaits) {
  supervisor tree{options()};
  tree.add(
      child_service("migrate", call(fail_twice, file("tries")), {.restart = restart::transient}));
  tree.add(child_service("a", call(serve, file("a")), {.after = {"migrate"}}));
  tree.start();
  EXPECT_EQ(marks(file("tries")), 3U);
  EXPECT_EQ(marks(file("a")), 1U);
}

TEST_P(ServicePlacement, OneWithAnIntervalRunsAgainAndAgain) {
  supervisor tree{options()};
  tree.add(child_service("a", call(tick, file("a")), {.every = 1ms}));
  tree.add(child_service("b", call(tick_as_coroutine, file("b")), {.every = 1ms}));
  tree.start();
  EXPECT_TRUE(eventually([&] { return marks(file("a")) > 2 && marks(file("b")) > 2; }));
  EXPECT_EQ(tree.child("a").incarnation, 1U);
  EXPECT_EQ(tree.child("b").incarnation, 1U);
}

TEST_P(ServicePlacement, SupervisorsBelowPlaceTheirChildrenAsTheOneAbove) {
  supervisor below{{.name = "below"}};
  below.add(child_service("a", call(serve, file("a"))));
  supervisor tree{options()};
  tree.add(child_supervisor("below", below));
  tree.add(child_thread_pool("threads", {.workers = 1}));
  tree.start();
  EXPECT_EQ(tree.child("below/a").pid != 0, GetParam() == placement::processes);
  EXPECT_EQ(tree.thread_pool("threads").apply(twice, 4), 8);
  tree.stop();
  EXPECT_EQ(marks(file("a") + " stopped"), 1U);
}

// What can only be seen in one process.

std::atomic<int> hangs{0};
std::binary_semaphore let_go{0};

void hang() {
  this_service::ready();
  if (this_service::incarnation() == 1) {
    ++hangs;
    let_go.acquire();
    --hangs;
  }
  while (this_service::sleep_for(1ms)) {
    this_service::heartbeat();
  }
}
task<void> hang_in_coroutine() {
  hang();
  co_return;
}
std::atomic<std::uint64_t> seen_outside{0};
void look_from_another_thread() {
  std::jthread{[] { seen_outside = this_service::is_service() ? 1 : 2; }}.join();
  this_service::ready();
}
std::latch* many = nullptr;
task<void> count_down() {
  many->count_down();
  co_await troupe::sleep_for(1h);
}

struct InProcess : pool_test {
  InProcess() {
    set_log_hook([](log_level, std::string_view text) {
      if (text.find("it is abandoned") != std::string_view::npos) {
        ++abandoned();
      }
    });
  }
  ~InProcess() override { set_log_hook({}); }
  static std::atomic<int>& abandoned() {
    static std::atomic<int> count{0};
    return count;
  }
  static void a_hanging_one_is_abandoned(const bound_call& service) {
    abandoned() = 0;
    supervisor tree{{.limits = quick(), .placement = placement::in_process}};
    tree.add(child_service("feed", service, {.watchdog = 100ms}));
    tree.start();
    ASSERT_TRUE(eventually([&] { return tree.child("feed").incarnation == 2; }));
    EXPECT_EQ(tree.child("feed").last_death->cause, end_cause::missed_heartbeat);
    EXPECT_NE(tree.child("feed").last_death->text.find("abandoned"), std::string::npos);
    EXPECT_EQ(abandoned(), 1);
    EXPECT_EQ(hangs, 1) << "its thread goes on";
    EXPECT_TRUE(eventually([&] { return tree.child("feed").ready; }));
    tree.stop();
    let_go.release();
    EXPECT_TRUE(eventually([] { return hangs == 0; }));
  }
};

TEST_F(InProcess, AServiceThatHangsIsAbandonedAndTheNextRunBegins) {
  a_hanging_one_is_abandoned(hang);
}

TEST_F(InProcess, ACoroutineThatKeepsItsThreadIsAbandonedAndTheNextRunHasAnother) {
  a_hanging_one_is_abandoned(hang_in_coroutine);
}

TEST_F(InProcess, OneChildMayBePlacedElsewhereThanItsSupervisor) {
  supervisor tree;
  tree.add(child_service("here", idle,
                         {.ready = readiness::at_start, .placement = placement::in_process}));
  tree.add(child_service("there", idle, {.ready = readiness::at_start}));
  tree.start();
  EXPECT_EQ(tree.child("here").pid, 0);
  EXPECT_NE(tree.child("there").pid, 0);
}

TEST_F(InProcess, APoolKeepsItsProcessesAndRefusesToBePlacedHere) {
  EXPECT_THROW(
      static_cast<void>(child_pool("p", {.workers = 1}, {.placement = placement::in_process})),
      std::invalid_argument);
  supervisor tree{{.placement = placement::in_process}};
  tree.add(child_pool("p", {.workers = 1}));
  tree.start();
  EXPECT_EQ(tree.pool("p").apply(twice, 4), 8);
}

TEST_F(InProcess, TheEnvironmentPlacesAWholeTree) {
  ::setenv("TROUPE_INLINE", "1", 1);
  supervisor tree;
  tree.add(child_service("here", idle, {.ready = readiness::at_start}));
  tree.add(child_service("there", idle,
                         {.ready = readiness::at_start, .placement = placement::processes}));
  tree.start();
  ::unsetenv("TROUPE_INLINE");
  EXPECT_EQ(tree.child("here").pid, 0);
  EXPECT_NE(tree.child("there").pid, 0) << "what a child says itself goes first";
}

TEST_F(InProcess, OtherThreadsOfTheProgramAreNoService) {
  supervisor tree{{.placement = placement::in_process}};
  tree.add(child_service("a", look_from_another_thread, {.restart = restart::transient}));
  tree.start();
  EXPECT_EQ(seen_outside, 2U);
  EXPECT_FALSE(this_service::is_service());
}

TEST_F(InProcess, ThousandsOfCoroutinesShareAFewThreads) {
  constexpr int count = 2'000;
  std::latch begun{count};
  many = &begun;
  supervisor tree{{.placement = placement::in_process}};
  tree.start();
  const auto threads = [] {
    return std::distance(std::filesystem::directory_iterator{"/proc/self/task"},
                         std::filesystem::directory_iterator{});
  };
  const auto before = threads();
  for (int i = 0; i < count; ++i) {
    tree.add(child_service(std::to_string(i), count_down, {.ready = readiness::at_start}));
  }
  begun.wait();
  EXPECT_LE(threads(), before + 4);
  EXPECT_EQ(tree.count().running, std::size_t{count});
  EXPECT_EQ(tree.children().size(), std::size_t{count});
  tree.stop();
  EXPECT_EQ(tree.count().active, 0U);
}

}  // namespace
}  // namespace troupe::test
