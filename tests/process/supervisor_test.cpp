// SPDX-License-Identifier: BSD-3-Clause
// `supervisor` with real children: processes, pools of both kinds, and supervisors. Its rules are
// told without processes in tests/actors/supervision; here is what only real children show.
#include "troupe/supervisor.hpp"

#include "troupe/log.hpp"
#include "troupe/supervised_pool.hpp"
#include "troupe/thread_pool.hpp"

#include "pool_fixture.hpp"
#include "support/forked.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

/// Says that it runs, and runs until a signal comes.
void run_for_ever(const std::string& running) {
  mark(running);
  for (;;) {
    ::pause();
  }
}
void ignore_sigterm(const std::string& running) {
  ::signal(SIGTERM, SIG_IGN);
  run_for_ever(running);
}
void leave_with(int code) {
  ::_exit(code);
}
void throw_a_range_error() {
  throw std::range_error{"too far"};
}
int kill_myself(int /*ignored*/ = 0) {
  ::raise(SIGKILL);
  return 0;
}
void refuse_to_start() {
  throw std::runtime_error{"no model here"};
}

restart_limits quick(int intensity = 100) {
  restart_limits made;
  made.intensity = intensity;
  made.backoff = 1ms;
  return made;
}

struct Supervisor : pool_test {
  Supervisor() {
    set_log_hook([this](log_level, std::string_view text) {
      const std::lock_guard lock{mutex_};
      log_.emplace_back(text);
    });
  }
  ~Supervisor() override { set_log_hook({}); }

  [[nodiscard]] bool logged(const std::string& text) {
    const std::lock_guard lock{mutex_};
    return std::any_of(log_.begin(), log_.end(),
                       [&](const auto& line) { return line.find(text) != std::string::npos; });
  }
  [[nodiscard]] child_spec runner(const std::string& name, child_options how = {}) {
    return child_process(name, call(run_for_ever, file(name.c_str())), how);
  }
  static void kill_child(const supervisor& tree, const std::string& path) {
    const child_status before = tree.child(path);
    ASSERT_GT(before.pid, 0) << path;
    ::kill(static_cast<pid_t>(before.pid), SIGKILL);
    EXPECT_TRUE(eventually([&] {
      const child_status now = tree.child(path);
      return now.incarnation > before.incarnation && now.ready;
    })) << path;
  }

  std::mutex mutex_;
  std::vector<std::string> log_;
};

TEST_F(Supervisor, StartsItsChildrenInOrderAndStopsThem) {
  supervisor tree;
  tree.add(runner("b", {.after = {"a"}}));
  tree.add(runner("a"));
  EXPECT_TRUE(tree.children().empty()) << "before the start there is nothing to see";
  tree.start();
  const std::vector<child_status> seen = tree.children();
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_EQ(seen[0].name, "a");
  EXPECT_EQ(seen[1].name, "b");
  EXPECT_TRUE(seen[0].ready && seen[1].ready);
  EXPECT_EQ(seen[0].kind, "process");
  EXPECT_GT(seen[0].pid, 0);
  EXPECT_EQ(tree.count().running, 2U);
  EXPECT_TRUE(tree.running());
  tree.stop();
  EXPECT_FALSE(tree.running());
  EXPECT_EQ(tree.wait().how, supervisor_end::stopped);
  EXPECT_EQ(tree.child("a").phase, child_phase::stopped);
  EXPECT_EQ(tree.child("a").last_death->cause, end_cause::shutdown);
}

TEST_F(Supervisor, AKilledChildIsStartedAgainAndTheOthersAreLeftAlone) {
  supervisor tree{{.limits = quick()}};
  tree.add(runner("a"));
  tree.add(runner("b"));
  tree.start();
  const std::int64_t other = tree.child("b").pid;
  kill_child(tree, "a");
  const child_status seen = tree.child("a");
  EXPECT_EQ(seen.last_death->cause, end_cause::signal);
  EXPECT_EQ(seen.last_death->text, "SIGKILL (signal 9)");
  EXPECT_EQ(seen.restarts, 1);
  EXPECT_EQ(seen.budget, "1 of 100");
  EXPECT_EQ(tree.child("b").pid, other);
  EXPECT_TRUE(logged("'a' ended: signal: SIGKILL (signal 9)"));
}

TEST_F(Supervisor, RestForOneRestartsWhatWasStartedLater) {
  supervisor tree{{.strategy = strategy::rest_for_one, .limits = quick()}};
  tree.add(runner("a"));
  tree.add(runner("b"));
  tree.add(child_thread_pool("c", {.workers = 1}));
  tree.start();
  const std::int64_t first = tree.child("a").pid;
  kill_child(tree, "b");
  EXPECT_TRUE(
      eventually([&] { return tree.child("c").ready && tree.child("c").incarnation == 2; }));
  EXPECT_EQ(tree.child("c").last_death->cause, end_cause::sibling);
  EXPECT_EQ(tree.child("a").pid, first);
}

TEST_F(Supervisor, OneForAllRestartsAllInOrder) {
  supervisor tree{{.strategy = strategy::one_for_all, .limits = quick()}};
  tree.add(runner("a"));
  tree.add(runner("b"));
  tree.start();
  const std::int64_t first = tree.child("a").pid;
  kill_child(tree, "b");
  EXPECT_TRUE(eventually([&] { return tree.count().running == 2; }));
  EXPECT_NE(tree.child("a").pid, first);
}

TEST_F(Supervisor, TellsExitCodesAndExceptionsApart) {
  supervisor tree;
  tree.start();
  tree.add(child_process("code", call(leave_with, 3),
                         {.restart = restart::transient, .success_codes = {3}}));
  EXPECT_TRUE(eventually([&] { return tree.count().all == 0; }))
      << "a dynamic child that is done is forgotten";
  supervisor brittle{{.limits = quick(0)}};
  brittle.add(child_process("thrower", throw_a_range_error));
  try {
    brittle.start();
  } catch (const error&) {  // it may have thrown before the start was over
  }
  const supervisor_outcome how = brittle.wait();
  EXPECT_EQ(how.how, supervisor_end::gave_up);
  EXPECT_EQ(how.child, "thrower");
  EXPECT_EQ(how.death, (child_death{end_cause::threw, "std::range_error: too far"}));
}

TEST_F(Supervisor, GivesUpOverItsLimitsAndTellsOverWhat) {
  supervisor tree{{.limits = quick(1)}};
  tree.add(runner("a"));
  tree.add(runner("b"));
  tree.start();
  kill_child(tree, "a");
  ::kill(static_cast<pid_t>(tree.child("a").pid), SIGKILL);
  const supervisor_outcome how = tree.wait();
  EXPECT_EQ(how.how, supervisor_end::gave_up);
  EXPECT_EQ(how.child, "a");
  EXPECT_FALSE(how.ok());
  EXPECT_FALSE(tree.running());
  EXPECT_EQ(tree.count().active, 0U) << "the other child was stopped";
  EXPECT_TRUE(logged("gives up: child 'a' ended"));
}

TEST_F(Supervisor, AChildThatIgnoresSigtermIsKilledInTheEnd) {
  supervisor tree;
  tree.add(child_process("deaf", call(ignore_sigterm, file("deaf")), {.shutdown = 50ms}));
  tree.start();
  ASSERT_TRUE(eventually([&] { return marks(file("deaf")) == 1; }));
  tree.stop();
  EXPECT_TRUE(logged("'deaf' did not stop in time, and is killed"));
}

TEST_F(Supervisor, APoolIsUsedThroughItsSupervisor) {
  supervisor tree;
  tree.add(child_pool("square", {.workers = 2}));
  tree.add(child_thread_pool("threads", {.workers = 2}));
  tree.start();
  EXPECT_EQ(tree.pool("square").map(square, std::vector{1, 2, 3}), (std::vector{1, 4, 9}));
  EXPECT_EQ(tree.pool("square").workers().size(), 2U);
  EXPECT_EQ(tree.thread_pool("threads").apply([&] { return 7; }), 7);
  EXPECT_THROW(static_cast<void>(tree.pool("threads")), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(tree.pool("nothing")), std::invalid_argument);
  supervised_pool old = tree.pool("square");
  tree.stop();
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return tree.pool("square").stats().submitted; }));
  EXPECT_TRUE(fails_with(errc::pool_closed, [&] { return old.apply(square, 2); }));
}

TEST_F(Supervisor, APoolThatIsStoppedFinishesWhatItHas) {
  supervisor tree;
  tree.add(child_pool("p", {.workers = 1}, {.shutdown = no_limit}));
  tree.start();
  auto running = tree.pool("p").apply_async(wait_at, file("running"), file("gate"));
  auto waiting = tree.pool("p").apply_async(square, 5);
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 1; }));
  std::jthread stopper{[&] { tree.stop(); }};
  EXPECT_TRUE(eventually([&] { return tree.child("p").phase == child_phase::stopping; }));
  mark(file("gate"));
  EXPECT_EQ(running.get(), 1);
  EXPECT_EQ(waiting.get(), 25);
}

TEST_F(Supervisor, APoolThatIsBrokenHasGivenUpAndIsStartedAnew) {
  supervisor tree{{.limits = quick()}};
  tree.add(child_pool("p", {.workers = 1, .limits = {.intensity = 0}}));
  tree.start();
  EXPECT_TRUE(fails_with(errc::worker_lost, [&] { return tree.pool("p").apply(kill_myself, 0); }));
  EXPECT_TRUE(
      eventually([&] { return tree.child("p").incarnation == 2 && tree.child("p").ready; }));
  const child_status seen = tree.child("p");
  EXPECT_EQ(seen.last_death->cause, end_cause::gave_up);
  EXPECT_NE(seen.last_death->text.find("is broken"), std::string::npos) << seen.last_death->text;
  EXPECT_EQ(tree.pool("p").apply(square, 3), 9);
}

TEST_F(Supervisor, AnInitializerThatThrowsFailsTheStartWithItsText) {
  supervisor tree{{.limits = quick()}};
  tree.add(runner("a"));
  tree.add(child_pool("p", {.workers = 1, .initializer = refuse_to_start}));
  try {
    tree.start();
    FAIL() << "it started";
  } catch (const error& why) {
    EXPECT_EQ(why.code(), errc::initializer_failed) << why.what();
    EXPECT_NE(std::string{why.what()}.find("no model here"), std::string::npos) << why.what();
  }
  EXPECT_FALSE(tree.running());
  EXPECT_EQ(tree.child("p").budget, "3 of 100") << "as many as limits.start_attempts";
}

TEST_F(Supervisor, AnInitializerThatHangsIsKilledWhenTheStartLimitIsOver) {
  supervisor tree{{.limits = quick()}};
  tree.add(child_pool("p", {.workers = 1, .initializer = call(run_for_ever, file("p"))},
                      {.start_timeout = 100ms}));
  EXPECT_TRUE(fails_with(errc::start_timeout, [&] { return tree.start(), 0; }));
  EXPECT_EQ(tree.child("p").last_death->cause, end_cause::start_limit);
}

TEST_F(Supervisor, AddsAndRemovesChildrenWhileItRuns) {
  supervisor tree{{.max_children = 2}};
  tree.start();
  tree.add(runner("x"));
  tree.add(runner("y"));
  EXPECT_TRUE(tree.child("x").dynamic);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return tree.add(runner("z")), 0; }));
  tree.remove("x");
  EXPECT_THROW(static_cast<void>(tree.child("x")), std::invalid_argument);
  tree.add(runner("x"));
  EXPECT_THROW(tree.add(runner("x")), std::invalid_argument) << "a name in use";
  EXPECT_THROW(tree.remove("nothing"), std::invalid_argument);
  EXPECT_EQ(tree.count().dynamic, 2U);
}

TEST_F(Supervisor, AnAddedChildThatCannotStartIsTold) {
  supervisor tree;
  tree.start();
  EXPECT_TRUE(fails_with(errc::initializer_failed, [&] {
    return tree.add(child_pool("p", {.workers = 1, .initializer = refuse_to_start})), 0;
  }));
  EXPECT_EQ(tree.count().all, 0U);
}

TEST_F(Supervisor, StopsAndRestartsAChildWhenItIsAsked) {
  supervisor tree;
  tree.add(runner("a"));
  tree.start();
  const std::int64_t first = tree.child("a").pid;
  tree.restart_child("a");
  EXPECT_NE(tree.child("a").pid, first);
  EXPECT_EQ(tree.child("a").last_death->cause, end_cause::restarted_by_user);
  tree.stop_child("a");
  EXPECT_EQ(tree.child("a").phase, child_phase::stopped);
  EXPECT_EQ(tree.child("a").pid, 0);
  tree.restart_child("a");
  EXPECT_TRUE(tree.child("a").ready);
  EXPECT_EQ(tree.child("a").budget, "0 of 5");
}

TEST_F(Supervisor, SupervisorsAreChildrenAndPathsLeadToTheirs) {
  supervisor below{{.limits = quick(0), .name = "web"}};
  below.add(runner("a"));
  below.add(child_thread_pool("t", {.workers = 1}));
  supervisor tree{{.limits = quick()}};
  tree.add(child_supervisor("web", below));
  tree.start();
  EXPECT_EQ(tree.child("web").kind, "supervisor");
  EXPECT_TRUE(tree.child("web/a").ready);
  EXPECT_EQ(below.child("a").pid, tree.child("web/a").pid) << "the handle goes on working";
  EXPECT_EQ(tree.thread_pool("web/t").apply([] { return 1; }), 1);
  below.add(runner("late"));
  EXPECT_TRUE(tree.child("web/late").ready);
  const std::int64_t first = tree.child("web/a").pid;
  ::kill(static_cast<pid_t>(first), SIGKILL);
  EXPECT_TRUE(
      eventually([&] { return tree.child("web").incarnation == 2 && tree.child("web").ready; }));
  EXPECT_EQ(tree.child("web").last_death->cause, end_cause::gave_up);
  EXPECT_NE(tree.child("web/a").pid, first);
  EXPECT_EQ(below.count().all, 2U) << "what was added while it ran is gone";
  EXPECT_THROW(static_cast<void>(tree.child("nothing/a")), std::invalid_argument);
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return below.stop(), 0; }));
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return below.start(), 0; }));
}

TEST_F(Supervisor, ASupervisorThatIsRemovedMayBeStartedByItself) {
  supervisor below;
  below.add(runner("a"));
  supervisor tree;
  tree.start();
  tree.add(child_supervisor("web", below));
  EXPECT_TRUE(tree.child("web/a").ready);
  tree.remove("web");
  EXPECT_FALSE(below.running());
  below.start();
  EXPECT_TRUE(below.child("a").ready);
}

TEST_F(Supervisor, ChecksWithoutStartingAnything) {
  supervisor below;
  below.add(child_thread_pool("x/y", {.workers = 1}));
  supervisor tree;
  tree.add(runner("a", {.after = {"b"}}));
  tree.add(runner("b", {.after = {"a"}}));
  tree.add(child_supervisor("below", below));
  const std::vector<spec_mistake> found = tree.check();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_NE(found[0].text.find("none of them can be first"), std::string::npos) << found[0].text;
  EXPECT_EQ(found[1].child, "below/x/y");
  EXPECT_THROW(tree.start(), std::invalid_argument);
  EXPECT_FALSE(tree.running());
  EXPECT_EQ(supervisor::check({.limits = {.intensity = -1}}, {}).size(), 1U);
  EXPECT_EQ(marks(file("a")), 0U);
}

TEST_F(Supervisor, RefusesWhatCannotBe) {
  supervisor tree;
  supervisor below;
  below.add(child_supervisor("up", tree));
  EXPECT_THROW(tree.add(child_supervisor("below", below)), std::invalid_argument);
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return tree.start(), 0; }))
      << "it is a child now";
  EXPECT_THROW(static_cast<void>(child_process("nothing", bound_call{})), std::invalid_argument);
  supervisor other;
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return other.wait(), 0; })) << "not started";
  other.stop();
  other.start();
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return other.start(), 0; })) << "it runs";
  other.stop();
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return other.remove("a"), 0; }));
  other.start();
  EXPECT_TRUE(other.running()) << "it may be started again";
}

TEST_F(Supervisor, BelongsToTheProcessThatMadeIt) {
  supervisor tree;
  tree.add(runner("a"));
  tree.start();
  forked child{
      [&] { return fails_with(errc::wrong_state, [&] { return tree.stop(), 0; }) ? 0 : 1; }};
  EXPECT_EQ(child.wait(), 0);
  EXPECT_TRUE(tree.child("a").ready);
}

TEST_F(Supervisor, AKillDoesNotWaitForChildren) {
  supervisor tree;
  tree.add(child_process("deaf", call(ignore_sigterm, file("deaf")), {.shutdown = no_limit}));
  tree.start();
  ASSERT_TRUE(eventually([&] { return marks(file("deaf")) == 1; }));
  tree.kill();
  EXPECT_EQ(tree.wait().how, supervisor_end::stopped);
}

TEST_F(Supervisor, TellsWhatHappensUntilItsEnd) {
  supervisor below{{.limits = quick(0)}};
  below.add(runner("a"));
  supervisor tree{{.limits = quick()}};
  tree.add(child_supervisor("web", below));
  supervisor_events events = tree.events();
  tree.start();
  ::kill(static_cast<pid_t>(tree.child("web/a").pid), SIGKILL);
  EXPECT_TRUE(
      eventually([&] { return tree.child("web").incarnation == 2 && tree.child("web").ready; }));
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] { return below.events().ended(); }));
  tree.stop();
  std::string told;
  while (const auto event = events.next()) {
    told += std::string{to_string(event->kind)} + " " + event->path + ", ";
  }
  EXPECT_TRUE(events.ended());
  EXPECT_EQ(told,
            "started web, started web/a, ready web/a, ready web, ended web/a, escalated web, "
            "ended web, restarted web, started web/a, ready web/a, ready web, "
            "ended web/a, ended web, stopped , ");
}

TEST_F(Supervisor, AllThatRunAreListedWithWhatIsBelow) {
  EXPECT_TRUE(running_supervisors().empty());
  supervisor below;
  below.add(runner("a"));
  supervisor tree{{.name = "shop"}};
  tree.add(child_supervisor("web", below));
  tree.start();
  const std::vector<supervisor_status> all = running_supervisors();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].name, "shop");
  ASSERT_EQ(all[0].below.size(), 1U);
  EXPECT_EQ(all[0].below[0].path, "web");
  ASSERT_EQ(all[0].below[0].picture.children.size(), 1U);
  EXPECT_EQ(all[0].below[0].picture.children[0].pid, tree.child("web/a").pid);
  EXPECT_GT(all[0].picture.version, 0U);
  tree.stop();
  EXPECT_TRUE(running_supervisors().empty());
}

TEST_F(Supervisor, AKillStormEndsWithEveryChildRunning) {
  constexpr int children = 12;
  supervisor tree{{.limits = quick(1'000'000)}};
  for (int i = 0; i < children; ++i) {
    tree.add(runner("c" + std::to_string(i)));
  }
  tree.start();
  for (int round = 0; round < 20; ++round) {
    for (const child_status& one : tree.children()) {
      if (one.pid != 0 && (round + static_cast<int>(one.incarnation)) % 3 == 0) {
        ::kill(static_cast<pid_t>(one.pid), SIGKILL);
      }
    }
  }
  EXPECT_TRUE(eventually([&] { return tree.count().running == children; }));
}

}  // namespace
}  // namespace troupe::test
