// SPDX-License-Identifier: BSD-3-Clause
// Services: long-running functions that their supervisor watches.
#include "troupe/log.hpp"
#include "troupe/supervisor.hpp"
#include "troupe/this_service.hpp"

#include "pool_fixture.hpp"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

namespace troupe::test {
namespace {

/// Is ready when the gate is open, and runs until it is to stop.
void serve_behind(const std::string& running, const std::string& gate) {
  wait_at(running, gate);
  this_service::ready();
  while (this_service::sleep_for(1h)) {
  }
  mark(running + " stopped");
}
void serve(const std::string& running) {
  mark(running);
  this_service::ready();
  while (this_service::sleep_for(1h)) {
  }
  mark(running + " stopped");
}
void never_ready() {
  while (this_service::sleep_for(1h)) {
  }
}
/// Longer than its watchdog waits, then until the gate is open; then it hangs.
void beat_until(const std::string& long_enough, const std::string& gate) {
  this_service::ready();
  const auto begin = std::chrono::steady_clock::now();
  while (marks(gate) == 0 && this_service::sleep_for(1ms)) {
    this_service::heartbeat();
    if (std::chrono::steady_clock::now() - begin > 3s && marks(long_enough) == 0) {
      mark(long_enough);
    }
  }
  while (this_service::sleep_for(1h)) {
  }
}
void hang_once(const std::string& running) {
  mark(running);
  this_service::ready();
  if (this_service::incarnation() == 1) {
    for (;;) {
      ::pause();
    }
  }
  while (this_service::sleep_for(1ms)) {
    this_service::heartbeat();
  }
}
void migrate(const std::string& done) {
  mark(done);
}
void fail_twice(const std::string& tries) {
  mark(tries);
  if (marks(tries) < 3) {
    ::_exit(9);
  }
}
void tick(const std::string& ticks) {
  mark(ticks);
}
void throw_at(const std::string& gate) {
  if (marks(gate) > 0) {
    throw std::runtime_error{"the disk is gone"};
  }
}
void hang_at(const std::string& gate) {
  if (marks(gate) > 0) {
    for (;;) {
      ::pause();
    }
  }
}
void write_incarnation(const std::string& path) {
  std::ofstream{path, std::ios::app} << this_service::incarnation() << ' '
                                     << this_service::is_service() << '\n';
  this_service::ready();
  throw std::logic_error{"once more"};
}
std::string content(const std::string& path) {
  std::ifstream in{path};
  return {std::istreambuf_iterator<char>{in}, {}};
}

struct Service : pool_test {
  Service() {
    set_log_hook([](log_level, std::string_view) {});
  }
  ~Service() override { set_log_hook({}); }
  [[nodiscard]] static restart_limits quick(int intensity = 100) {
    restart_limits made;
    made.intensity = intensity;
    made.backoff = 1ms;
    return made;
  }
  /// Until the child has died of that.
  static bool dies_of(const supervisor& tree, const std::string& path, end_cause cause) {
    return eventually([&] {
      const child_status seen = tree.child(path);
      return seen.last_death && seen.last_death->cause == cause;
    });
  }
};

TEST_F(Service, WhatComesAfterItBeginsWhenItSaysThatItIsReady) {
  supervisor tree;
  tree.add(child_service("first", call(serve_behind, file("first"), file("gate"))));
  tree.add(child_service("second", call(serve, file("second")), {.after = {"first"}}));
  std::jthread starter{[&] { tree.start(); }};
  ASSERT_TRUE(eventually([&] { return marks(file("first")) == 1; }));
  EXPECT_EQ(tree.child("first").phase, child_phase::starting);
  EXPECT_EQ(tree.child("second").phase, child_phase::waiting);
  mark(file("gate"));
  starter.join();
  EXPECT_TRUE(tree.child("second").ready);
  tree.stop();
  EXPECT_EQ(marks(file("first") + " stopped"), 1U) << "its stop token was set, and it returned";
  EXPECT_EQ(marks(file("second") + " stopped"), 1U);
}

TEST_F(Service, OneThatIsNeverReadyIsKilledAndFailsTheStart) {
  supervisor tree{{.limits = quick()}};
  tree.add(child_service("mute", never_ready, {.start_timeout = 20ms}));
  EXPECT_TRUE(fails_with(errc::start_timeout, [&] { return tree.start(), 0; }));
  EXPECT_EQ(tree.child("mute").last_death->cause, end_cause::start_limit);
}

TEST_F(Service, OneThatHangsMissesItsHeartbeatAndIsStartedAgain) {
  supervisor tree{{.limits = quick()}};
  tree.add(child_service("feed", call(hang_once, file("feed")), {.watchdog = 50ms}));
  tree.start();
  EXPECT_TRUE(eventually([&] { return tree.child("feed").incarnation == 2; }));
  const child_status seen = tree.child("feed");
  EXPECT_EQ(seen.last_death->cause, end_cause::missed_heartbeat);
  EXPECT_NE(seen.last_death->text.find("no heartbeat for 50 ms: SIGABRT"), std::string::npos)
      << seen.last_death->text;
  if (!sanitized) {
    EXPECT_NE(seen.last_death->text.find("hang_once"), std::string::npos)
        << "where it was: " << seen.last_death->text;
  }
}

TEST_F(Service, HeartbeatsKeepItAliveAndTheirEndEndsIt) {
  supervisor tree{{.limits = quick()}};
  tree.add(
      child_service("feed", call(beat_until, file("long enough"), file("gate")), {.watchdog = 2s}));
  tree.start();
  ASSERT_TRUE(eventually([&] { return marks(file("long enough")) == 1; }));
  EXPECT_EQ(tree.child("feed").incarnation, 1U);
  mark(file("gate"));
  EXPECT_TRUE(dies_of(tree, "feed", end_cause::missed_heartbeat));
}

TEST_F(Service, AProbeThatThrowsEndsIt) {
  supervisor tree{{.limits = quick()}};
  tree.add(child_service("feed", call(serve, file("feed")),
                         {.probe = call(throw_at, file("gate")), .probe_interval = 1ms}));
  tree.start();
  const std::int64_t first = tree.child("feed").pid;
  EXPECT_GT(first, 0);
  mark(file("gate"));
  EXPECT_TRUE(dies_of(tree, "feed", end_cause::failed_probe));
  EXPECT_NE(tree.child("feed").last_death->text.find("the disk is gone"), std::string::npos)
      << tree.child("feed").last_death->text;
}

TEST_F(Service, AProbeThatHangsEndsIt) {
  supervisor tree{{.limits = quick()}};
  tree.add(child_service(
      "feed", call(serve, file("feed")),
      {.probe = call(hang_at, file("gate")), .probe_interval = 1ms, .probe_timeout = 50ms}));
  tree.start();
  mark(file("gate"));
  EXPECT_TRUE(dies_of(tree, "feed", end_cause::failed_probe));
}

TEST_F(Service, AJobRunsOnceAndWhatComesAfterItWaitsForItsEnd) {
  supervisor tree;
  tree.add(child_service("migrate", call(migrate, file("done")), {.restart = restart::transient}));
  tree.add(child_service("serve", call(serve, file("serve")), {.after = {"migrate"}}));
  tree.start();
  EXPECT_EQ(marks(file("done")), 1U);
  EXPECT_EQ(tree.child("migrate").phase, child_phase::stopped);
  EXPECT_EQ(tree.child("migrate").last_death->cause, end_cause::finished);
  EXPECT_EQ(tree.child("migrate").incarnation, 1U);
}

TEST_F(Service, AJobThatFailsIsTriedAgain) {
  supervisor tree{{.limits = quick()}};
  tree.add(child_service("job", call(fail_twice, file("tries")), {.restart = restart::transient}));
  tree.start();
  EXPECT_EQ(marks(file("tries")), 3U);
  EXPECT_EQ(tree.child("job").budget, "2 of 100");
}

TEST_F(Service, OneWithAnIntervalRunsAgainAndAgainInOneProcess) {
  supervisor tree;
  tree.add(child_service("tick", call(tick, file("ticks")), {.every = 1ms}));
  tree.start();
  const std::int64_t first = tree.child("tick").pid;
  EXPECT_TRUE(eventually([&] { return marks(file("ticks")) > 3; }));
  EXPECT_EQ(tree.child("tick").pid, first);
}

TEST_F(Service, KnowsItsIncarnationAndWhatItThrowsIsTold) {
  supervisor tree{{.limits = quick(1)}};
  tree.add(child_service("thrower", call(write_incarnation, file("runs"))));
  try {
    tree.start();
  } catch (const error&) {  // it may have thrown before the start was over
  }
  const supervisor_outcome how = tree.wait();
  EXPECT_EQ(how.death, (child_death{end_cause::threw, "std::logic_error: once more"}));
  EXPECT_EQ(content(file("runs")), "1 1\n2 1\n");
}

TEST_F(Service, AStrangersSigtermDoesNotStopIt) {
  supervisor tree;
  tree.add(child_service("serve", call(serve, file("serve"))));
  tree.start();
  const child_status before = tree.child("serve");
  const std::string command =
      "kill -TERM " + std::to_string(before.pid) + "; kill -INT " + std::to_string(before.pid);
  ASSERT_EQ(std::system(command.c_str()), 0);
  tree.stop();
  EXPECT_EQ(marks(file("serve") + " stopped"), 1U);
  EXPECT_EQ(tree.child("serve").incarnation, 1U) << "what stopped it was its supervisor";
}

// A signal that is pending takes the place of the next one, and its sender is the first one's.
TEST_F(Service, AStopIsHeardThoughAStrangersSigtermIsPending) {
  supervisor tree;
  tree.add(child_service("serve", call(serve, file("serve")), {.shutdown = no_limit}));
  tree.start();
  const auto pid = static_cast<pid_t>(tree.child("serve").pid);
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  ASSERT_EQ(std::system(("kill -TERM " + std::to_string(pid)).c_str()), 0);
  std::jthread stopper{[&] { tree.stop(); }};
  EXPECT_TRUE(eventually([&] { return tree.child("serve").phase == child_phase::stopping; }));
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  stopper.join();
  EXPECT_EQ(marks(file("serve") + " stopped"), 1U);
}

TEST_F(Service, OtherProcessesAreNone) {
  EXPECT_FALSE(this_service::is_service());
  EXPECT_TRUE(fails_with(errc::wrong_state, [] { return this_service::ready(), 0; }));
  EXPECT_TRUE(fails_with(errc::wrong_state, [] { return this_service::stop_token(); }));
}

TEST_F(Service, RefusesTimesThatMakeNoSense) {
  EXPECT_THROW(static_cast<void>(child_service("a", never_ready, {.watchdog = 0ms})),
               std::invalid_argument);
  EXPECT_THROW(static_cast<void>(child_service("a", never_ready, {.every = -1ms})),
               std::invalid_argument);
}

}  // namespace
}  // namespace troupe::test
