// SPDX-License-Identifier: BSD-3-Clause
// system::stop_on_signals and trees of supervisors: the first signal stops them in their order, the
// second one kills what is left. A signal counts for the rest of a process, so a test is a process.
#include "troupe/log.hpp"
#include "troupe/supervised_pool.hpp"
#include "troupe/system.hpp"
#include "troupe/this_service.hpp"

#include "pool_fixture.hpp"
#include "support/program.hpp"

#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace troupe::test {
namespace {

/// Writes its name when it is to stop.
void serve(const std::string& name, const std::string& order) {
  this_service::ready();
  while (this_service::sleep_for(1h)) {
  }
  std::ofstream{order, std::ios::app} << name << '\n';
}
/// Does not stop when it is asked.
void serve_on(const std::string& asked) {
  this_service::ready();
  while (this_service::sleep_for(1h)) {
  }
  mark(asked);
  for (;;) {
    ::pause();
  }
}
std::string content(const std::string& path) {
  std::ifstream in{path};
  return {std::istreambuf_iterator<char>{in}, {}};
}

struct SupervisionSignals : pool_test {
  SupervisionSignals() {
    ::sigaction(SIGINT, nullptr, &before_);
    program_system().stop_on_signals();
    struct sigaction installed{};
    ::sigaction(SIGINT, nullptr, &installed);
    dispose(before_);
    take_baseline();  // with the pipe, which stays, and without the handlers, which a test uses up
    dispose(installed);
    set_log_hook([](log_level, std::string_view) {});
  }
  ~SupervisionSignals() override {
    set_log_hook({});
    dispose(before_);
  }
  static void dispose(const struct sigaction& action) {
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
  }

  struct sigaction before_{};
};

TEST_F(SupervisionSignals, TheFirstStopsTheTreeInReverseOrderAndItsPoolsOnlyInTheirTurn) {
  supervisor tree;
  tree.add(child_pool("pool", {.workers = 1}, {.shutdown = no_limit}));
  tree.add(child_service("first", call(serve, "first", file("order"))));
  tree.add(child_service("gate", call(serve_on, file("asked")), {.shutdown = no_limit}));
  tree.add(child_service("last", call(serve, "last", file("order"))));
  tree.start();
  supervised_pool pool = tree.pool("pool");
  ::kill(::getpid(), SIGTERM);
  ASSERT_TRUE(eventually([&] { return marks(file("asked")) == 1; }));
  EXPECT_EQ(content(file("order")), "last\n");
  EXPECT_TRUE(program_system().stop_token().stop_requested());
  EXPECT_EQ(pool.apply(square, 3), 9) << "what comes later may still need it";
  EXPECT_EQ(tree.child("first").phase, child_phase::running);
  ::kill(static_cast<pid_t>(tree.child("gate").pid), SIGKILL);
  EXPECT_EQ(tree.wait().how, supervisor_end::stopped);
  EXPECT_EQ(content(file("order")), "last\nfirst\n");
}

TEST_F(SupervisionSignals, TheSecondKillsWhatIsLeft) {
  supervisor tree;
  tree.add(child_service("deaf", call(serve_on, file("asked")), {.shutdown = no_limit}));
  tree.start();
  ::kill(::getpid(), SIGTERM);
  ASSERT_TRUE(eventually([&] { return marks(file("asked")) == 1; }));
  EXPECT_FALSE(tree.wait_for(0s));
  ::kill(::getpid(), SIGTERM);
  EXPECT_EQ(tree.wait().how, supervisor_end::stopped);
}

// As service managers stop a unit: the tree still stops in its order, and loses no task.
TEST_F(SupervisionSignals, SigtermToEveryProcessStopsTheTreeInItsOrder) {
  supervisor tree;
  tree.add(child_pool("pool", {.workers = 1}, {.shutdown = no_limit}));
  tree.add(child_service("first", call(serve, "first", file("order"))));
  tree.add(child_service("last", call(serve, "last", file("order"))));
  tree.start();
  supervised_pool pool = tree.pool("pool");
  auto running = pool.apply_async(wait_at, file("running"), file("gate"));
  auto waiting = pool.apply_async(square, 5);
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 1; }));
  std::string command = "kill -TERM";
  for (const std::int64_t pid : {pool.workers().at(0).pid, tree.child("first").pid,
                                 tree.child("last").pid, std::int64_t{::getpid()}}) {
    command += " " + std::to_string(pid);
  }
  EXPECT_EQ(std::system(command.c_str()), 0);
  EXPECT_TRUE(eventually([&] { return content(file("order")) == "last\nfirst\n"; }));
  mark(file("gate"));
  EXPECT_EQ(running.get(), 1);
  EXPECT_EQ(waiting.get(), 25);
  EXPECT_EQ(tree.wait().how, supervisor_end::stopped);
}

TEST_F(SupervisionSignals, AGiveUpAtTheTopSetsTheStopToken) {
  restart_limits none;
  none.intensity = 0;
  supervisor tree{{.limits = none}};
  tree.add(child_service("a", call(serve, "a", file("order"))));
  tree.start();
  EXPECT_FALSE(program_system().stop_token().stop_requested());
  ::kill(static_cast<pid_t>(tree.child("a").pid), SIGKILL);
  EXPECT_EQ(tree.wait().how, supervisor_end::gave_up);
  EXPECT_TRUE(program_system().stop_token().stop_requested());
}

}  // namespace
}  // namespace troupe::test
