// SPDX-License-Identifier: BSD-3-Clause
// system::stop_on_signals: the first signal drains, the second kills.
#include "troupe/log.hpp"
#include "troupe/system.hpp"

#include "pool_fixture.hpp"
#include "support/program.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

struct Signals : every_start_method {
  Signals() {
    ::sigaction(SIGINT, nullptr, &before_);
    program_system().stop_on_signals();
    struct sigaction installed{};
    ::sigaction(SIGINT, nullptr, &installed);
    dispose(before_);
    take_baseline();  // with the pipe, which stays, and without the handlers, which some tests use
                      // up
    dispose(installed);
    set_log_hook([this](log_level, std::string_view text) {
      const std::lock_guard lock{mutex_};
      log_.emplace_back(text);
    });
  }
  ~Signals() override {
    set_log_hook({});
    dispose(before_);
  }
  static void dispose(const struct sigaction& action) {
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
  }
  bool logged(const std::string& text) {
    const std::lock_guard lock{mutex_};
    return std::any_of(log_.begin(), log_.end(),
                       [&](const auto& line) { return line.find(text) != std::string::npos; });
  }
  static void send(int signal) { ::kill(::getpid(), signal); }

  struct sigaction before_{};
  std::mutex mutex_;
  std::vector<std::string> log_;
};
TROUPE_FOR_EVERY_START_METHOD(Signals);

TEST_P(Signals, TheFirstDrainsThePool) {
  pool p{options(1)};
  auto running = p.apply_async(wait_at, file("running"), file("gate"));
  auto waiting = p.apply_async(square, 5);
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  EXPECT_FALSE(program_system().stop_token().stop_requested());
  send(SIGTERM);
  EXPECT_TRUE(eventually([] { return program_system().stop_token().stop_requested(); }));
  EXPECT_EQ(program_system().stop_signal(), SIGTERM);
  EXPECT_TRUE(
      logged("SIGTERM: pool 'pool' takes no more work and finishes 1 tasks with workers "
             "and 1 waiting ones"));
  EXPECT_THROW(static_cast<void>(p.apply_async(square, 1)), pool_closed);
  EXPECT_THROW(pool{options(1)}, pool_closed);
  mark(file("gate"));
  EXPECT_EQ(running.get(), 1);
  EXPECT_EQ(waiting.get(), 25);
  p.join();
}

TEST_P(Signals, TheSecondKillsAndEverythingEnds) {
  program_system().stop_on_signals();  // once was enough
  pool p{options(2)};
  std::vector<future<int>> all;
  for (int i = 0; i < 5; ++i) {
    all.push_back(p.apply_async(wait_at, file("running"), file("gate")));
  }
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 2; }));
  send(SIGINT);
  EXPECT_TRUE(eventually([] { return program_system().stop_token().stop_requested(); }));
  EXPECT_FALSE(all.back().ready());
  send(SIGINT);
  p.join();
  for (const auto& f : all) {
    EXPECT_TRUE(f.cancelled());
  }
  EXPECT_TRUE(
      logged("SIGINT again: pool 'pool' is killed with 2 tasks with workers and 3 waiting"));
}

TEST_P(Signals, AfterwardsTheDispositionsAreAsBefore) {
  struct sigaction with{};
  ::sigaction(SIGINT, nullptr, &with);
  EXPECT_NE(with.sa_handler, before_.sa_handler);
  pool p{options(1)};
  EXPECT_EQ(p.apply([] {
    struct sigaction in_worker{};
    ::sigaction(SIGTERM, nullptr, &in_worker);
    return in_worker.sa_handler == SIG_DFL;
  }),
            true);
  send(SIGINT);
  send(SIGTERM);
  EXPECT_TRUE(eventually([&] {
    struct sigaction now{};
    ::sigaction(SIGINT, nullptr, &now);
    return now.sa_handler == before_.sa_handler;
  }));
  p.join();
}

}  // namespace
}  // namespace troupe::test
