// SPDX-License-Identifier: BSD-3-Clause
// system::tree and system::status: all that runs in the program, below one root. What supervisors
// keep for their children.
#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/supervised_pool.hpp"
#include "troupe/system.hpp"
#include "troupe/this_service.hpp"
#include "troupe/thread_pool.hpp"

#include "pool_fixture.hpp"
#include "support/forked.hpp"
#include "support/program.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

void serve() {
  this_service::ready();
  while (this_service::sleep_for(1h)) {
  }
}
void wait_for_a_signal() {
  for (;;) {
    ::pause();
  }
}
int kill_myself(int /*ignored*/) {
  ::raise(SIGKILL);
  return 0;
}
void put_incarnations(queue<std::uint64_t> to) {
  this_service::ready();
  to.put(this_service::incarnation());
  while (this_service::sleep_for(1h)) {
  }
}

std::optional<child_status> at_root(const std::string& name) {
  const supervisor_status root = program_system().tree();
  const auto found = std::find_if(root.picture.children.begin(), root.picture.children.end(),
                                  [&name](const child_status& one) { return one.name == name; });
  return found == root.picture.children.end() ? std::nullopt : std::optional{*found};
}

struct SystemTree : pool_test {};

TEST_F(SystemTree, AllThatRunIsBelowOneRoot) {
  EXPECT_TRUE(program_system().tree().picture.children.empty());
  supervisor below;
  below.add(child_service("feed", call(serve)));
  supervisor tree{{.name = "shop"}};
  tree.keep("lines", queue<int>{});
  tree.add(child_supervisor("web", below));
  tree.start();
  pool workers{{.workers = 1, .name = "workers"}};
  thread_pool threads{{.workers = 1, .name = "threads"}};
  process alone{{.name = "alone", .daemon = true}, wait_for_a_signal};
  alone.start();

  const supervisor_status root = program_system().tree();
  EXPECT_EQ(root.name, "system");
  EXPECT_EQ(root.path, "");
  ASSERT_EQ(root.picture.children.size(), 4U);
  EXPECT_EQ(root.picture.children[0].name, "shop");
  EXPECT_EQ(root.picture.children[0].kind, "supervisor");
  EXPECT_EQ(root.picture.children[1].name, "workers");
  EXPECT_EQ(root.picture.children[1].kind, "pool");
  EXPECT_EQ(root.picture.children[2].name, "threads");
  EXPECT_EQ(root.picture.children[2].kind, "thread pool");
  EXPECT_EQ(root.picture.children[3].name, "alone");
  EXPECT_EQ(root.picture.children[3].kind, "process");
  EXPECT_EQ(root.picture.children[3].pid, alone.pid());
  for (const child_status& one : root.picture.children) {
    EXPECT_TRUE(one.ready) << one.name;
  }
  ASSERT_EQ(root.below.size(), 1U);
  EXPECT_EQ(root.below[0].path, "shop");
  EXPECT_EQ(root.below[0].kept, std::vector<std::string>{"lines"});
  ASSERT_EQ(root.below[0].below.size(), 1U);
  EXPECT_EQ(root.below[0].below[0].path, "shop/web");
  ASSERT_EQ(root.below[0].below[0].picture.children.size(), 1U);
  EXPECT_EQ(root.below[0].below[0].picture.children[0].pid, tree.child("web/feed").pid);
  EXPECT_EQ(program_system().tree().picture.version, root.picture.version);
  alone.kill();
  alone.join();
}

TEST_F(SystemTree, WhatHasEndedIsGoneFromItAndTheVersionGrows) {
  std::optional<pool> workers{std::in_place, pool_options{.workers = 1, .name = "workers"}};
  const std::uint64_t before = program_system().tree().picture.version;
  ASSERT_TRUE(at_root("workers"));
  workers->close();
  workers->join();
  EXPECT_FALSE(at_root("workers")) << "its handle lives, but it has ended";
  EXPECT_GT(program_system().tree().picture.version, before);

  thread_pool threads{{.workers = 1, .name = "threads"}};
  ASSERT_TRUE(at_root("threads"));
  threads.terminate();
  threads.join();
  EXPECT_FALSE(at_root("threads"));

  process alone{{.name = "alone"}, wait_for_a_signal};
  alone.start();
  ASSERT_TRUE(at_root("alone"));
  alone.kill();
  alone.join();
  EXPECT_FALSE(at_root("alone"));
}

TEST_F(SystemTree, AChildIsStartingUntilItIsReadyAndStoppingUntilItHasEnded) {
  std::thread starts{[&] {
    pool slow{
        {.workers = 1, .initializer = call(wait_at, file("begun"), file("gate")), .name = "slow"}};
    auto running = slow.apply_async(wait_at, file("running"), file("end"));
    slow.close();
    running.get();
    slow.join();
  }};
  EXPECT_TRUE(eventually([&] { return marks(file("begun")) > 0; }));
  const auto seen = at_root("slow");
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->phase, child_phase::starting);
  EXPECT_FALSE(seen->ready);
  mark(file("gate"));
  EXPECT_TRUE(eventually([&] {
    const auto now = at_root("slow");
    return now && now->phase == child_phase::stopping;
  }));
  mark(file("end"));
  starts.join();
  EXPECT_FALSE(at_root("slow"));
}

TEST_F(SystemTree, TheEndOfATemporaryChildDoesNotConcernOthers) {
  supervisor tree{{.name = "shop"}};
  tree.add(child_service("feed", call(serve)));
  tree.start();
  const std::int64_t pid = tree.child("feed").pid;
  restart_limits none;
  none.intensity = 0;
  pool broken{{.workers = 1, .limits = none, .name = "broken"}};
  EXPECT_THROW(broken.apply(kill_myself, 1), error);
  EXPECT_TRUE(eventually([] { return !at_root("broken"); }));
  process alone{{.name = "alone"}, wait_for_a_signal};
  alone.start();
  alone.kill();
  alone.join();
  EXPECT_FALSE(program_system().stop_token().stop_requested());
  EXPECT_EQ(tree.child("feed").pid, pid);
  EXPECT_EQ(tree.child("feed").restarts, 0);
}

TEST_F(SystemTree, PoolsOfSupervisorsAreTheirChildrenAndNotTheRoots) {
  supervisor tree{{.name = "shop"}};
  tree.add(child_pool("workers", {.workers = 1}));
  tree.add(child_thread_pool("threads", {.workers = 1}));
  tree.add(child_process("alone", call(wait_for_a_signal)));
  tree.start();
  const supervisor_status root = program_system().tree();
  ASSERT_EQ(root.picture.children.size(), 1U);
  EXPECT_EQ(root.picture.children[0].name, "shop");
}

TEST_F(SystemTree, TheFiguresAreThoseOfAllThatRuns) {
  const system_status before = program_system().status();
  EXPECT_EQ(before.supervisors, 0U);
  EXPECT_EQ(before.children.all, 0U);
  supervisor below;
  below.add(child_service("feed", call(serve)));
  below.add(child_pool("resize", {.workers = 2}));
  supervisor tree{{.name = "shop"}};
  tree.add(child_supervisor("web", below));
  tree.start();
  thread_pool threads{{.workers = 3}};
  EXPECT_EQ(tree.pool("web/resize").apply(square, 3), 9);
  EXPECT_EQ(threads.apply([] { return 1; }), 1);
  ::kill(static_cast<pid_t>(tree.child("web/feed").pid), SIGKILL);
  EXPECT_TRUE(eventually([] {
    const system_status now = program_system().status();
    return now.restarts == 1 && now.children.running == 3;
  }));
  const system_status now = program_system().status();
  EXPECT_EQ(now.supervisors, 2U);
  EXPECT_EQ(now.children.all, 3U) << "feed, resize, and the thread pool";
  EXPECT_EQ(now.children.active, 3U);
  EXPECT_EQ(now.pools, 2U);
  EXPECT_EQ(now.tasks.workers, 5U);
  EXPECT_EQ(now.tasks.succeeded, 2U);
  EXPECT_EQ(now.stop_signal, 0);
  EXPECT_FALSE(now.stopping);
}

TEST_F(SystemTree, AForkedProcessIsToldThatItIsNotTheProgram) {
  pool workers{{.workers = 1}};
  forked child{[] {
    try {
      static_cast<void>(program_system().tree());
    } catch (const error& refused) {
      return refused.code() == errc::wrong_state ? 0 : 2;
    }
    return 1;
  }};
  EXPECT_EQ(child.wait(), 0);
}

/// Tells when it is destroyed, of which supervisor's children then what is left.
struct witness {
  explicit witness(std::vector<std::string>& to, std::string what)
      : told{&to,
             [what = std::move(what)](std::vector<std::string>* all) { all->push_back(what); }} {}
  std::shared_ptr<std::vector<std::string>> told;
};
/// Notes whether the process lives when the last copy is destroyed.
struct outlives {
  explicit outlives(bool& lived, std::shared_ptr<std::int64_t> pid)
      : told{&lived, [pid](bool* to) { *to = ::kill(static_cast<pid_t>(*pid), 0) == 0; }} {}
  std::shared_ptr<bool> told;
};

TEST_F(SystemTree, WhatIsKeptOutlivesRestartsAndIsFoundByItsName) {
  supervisor tree;
  {
    const queue<std::uint64_t> runs = tree.keep("runs", queue<std::uint64_t>{});
    tree.add(child_service("feed", call(put_incarnations, runs)));
  }
  tree.start();
  auto runs = tree.kept<queue<std::uint64_t>>("runs");
  EXPECT_EQ(runs.get(), 1U);
  ::kill(static_cast<pid_t>(tree.child("feed").pid), SIGKILL);
  EXPECT_EQ(runs.get(), 2U);
  tree.stop();
  tree.start();
  EXPECT_EQ(runs.get(), 1U) << "another run of the tree has the same queue";
}

TEST_F(SystemTree, WhatIsKeptIsReleasedInReverseOrderAfterTheLastChildHasEnded) {
  std::vector<std::string> released;
  bool lived = true;
  const auto pid = std::make_shared<std::int64_t>(0);
  {
    supervisor tree;
    tree.keep("first", witness{released, "first"});
    tree.keep("watch", outlives{lived, pid});
    tree.keep("last", witness{released, "last"});
    tree.add(child_service("feed", call(serve)));
    tree.start();
    *pid = tree.child("feed").pid;
    tree.stop();
    EXPECT_TRUE(released.empty()) << "it may be started again";
    tree.start();
    *pid = tree.child("feed").pid;
    EXPECT_EQ(::kill(static_cast<pid_t>(*pid), 0), 0);
  }
  EXPECT_FALSE(lived) << "the child had ended";
  EXPECT_EQ(released, (std::vector<std::string>{"last", "first"}));
}

TEST_F(SystemTree, KeepingRefusesNamesThatAreInUseAndTypesThatAreOthers) {
  supervisor tree;
  tree.keep("lines", queue<int>{});
  EXPECT_THROW(tree.keep("lines", queue<int>{}), std::invalid_argument);
  EXPECT_THROW(tree.keep("", queue<int>{}), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(tree.kept<queue<int>>("words")), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(tree.kept<queue<double>>("lines")), std::invalid_argument);
}

}  // namespace
}  // namespace troupe::test
