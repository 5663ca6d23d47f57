// SPDX-License-Identifier: BSD-3-Clause
// system::stop_on_signals: the first signal drains, the second kills. SIGTERM at workers.
#include "troupe/log.hpp"
#include "troupe/process.hpp"
#include "troupe/system.hpp"

#include "pool_fixture.hpp"
#include "support/processes.hpp"
#include "support/program.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <optional>
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
  /// By a process that is neither the program nor its fork server.
  template <class Pids>
  static void terminate_from_outside(const Pids& pids) {
    std::string command = "kill -TERM";
    for (const auto pid : pids) {
      command += " " + std::to_string(pid);
    }
    EXPECT_EQ(std::system(command.c_str()), 0);
  }
  bool told_of(const pool& p) {
    const auto pids = pids_of(p);
    return std::all_of(pids.begin(), pids.end(), [&](std::int64_t pid) {
      return logged("(pid " + std::to_string(pid) + ") of pool 'pool' got a SIGTERM of process");
    });
  }

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
  EXPECT_TRUE(eventually([&] {
    return logged(
        "SIGTERM: pool 'pool' takes no more work and finishes 1 tasks with workers and 1 waiting "
        "ones");
  }));
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
    ::sigaction(SIGINT, nullptr, &in_worker);
    return in_worker.sa_handler == SIG_IGN;
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

// A service manager stops a program so (systemd, supervisord): the workers died with what they ran.
// (Issue 11, number 23.)
TEST_P(Signals, SigtermToEveryProcessOfAServiceLosesNoTask) {
  pool p{options(2)};
  std::vector<future<int>> all;
  for (int i = 0; i < 6; ++i) {
    all.push_back(p.apply_async(wait_at, file("running"), file("gate")));
  }
  ASSERT_TRUE(eventually([&] { return marks(file("running")) == 2; }));
  std::vector<int> every{::getpid()};
  for (const process_entry& one : our_processes()) {
    every.push_back(one.pid);
  }
  terminate_from_outside(every);
  EXPECT_TRUE(eventually([] { return program_system().stop_token().stop_requested(); }));
  EXPECT_TRUE(eventually([&] { return told_of(p); })) << "the log tells of no SIGTERM";
  mark(file("gate"));
  for (const auto& f : all) {
    EXPECT_EQ(f.get(), 1);
  }
  p.join();
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(Signals, SigtermOfOthersLeavesIdleWorkersAlone) {
  pool p{options(2)};
  p.map(square, std::vector{1, 2, 3});
  const auto before = pids_of(p);
  terminate_from_outside(before);
  EXPECT_TRUE(eventually([&] { return told_of(p); })) << "the log tells of no SIGTERM";
  EXPECT_EQ(p.map(square, std::vector{1, 2, 3}), (std::vector{1, 4, 9}));
  EXPECT_EQ(pids_of(p), before);
}

TEST_P(Signals, SigtermOfTheProgramOrTheTaskEndsAWorker) {
  pool p{options(1)};
  const auto end_of = [](const future<int>& f) -> std::optional<int> {
    try {
      f.get();
    } catch (const worker_lost& lost) {
      return lost.signal();
    }
    return std::nullopt;
  };
  const auto running = p.apply_async(wait_at, file("running"), file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  ::kill(static_cast<pid_t>(p.workers().front().pid), SIGTERM);
  EXPECT_EQ(end_of(running), SIGTERM);
  EXPECT_EQ(end_of(p.apply_async([] {
              ::kill(::getpid(), SIGTERM);
              return 1;
            })),
            SIGTERM);
}

TEST_P(Signals, AHandlerOfATaskGetsEverySigterm) {
  pool p{options(1)};
  const auto waits = p.apply_async(
      [](const std::string& running) {
        static std::atomic<bool> came{false};
        ::signal(SIGTERM, [](int) { came = true; });
        mark(running);
        return eventually([] { return came.load(); });
      },
      file("running"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  terminate_from_outside(pids_of(p));
  EXPECT_TRUE(waits.get());
}

TEST_P(Signals, SigtermEndsAChildThatATaskForked) {
  pool p{options(1)};
  EXPECT_EQ(p.apply([] {
    const pid_t child = ::fork();
    while (child == 0) {
      ::pause();
    }
    ::kill(child, SIGTERM);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }),
            SIGTERM);
}

TEST_P(Signals, SigtermOfAnybodyEndsAProcess) {
  process one{process_options{.start = GetParam()},
              [](const std::string& running) {
                mark(running);
                for (;;) {
                  ::pause();
                }
              },
              file("running")};
  one.start();
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  terminate_from_outside(std::vector{one.pid()});
  one.join();
  EXPECT_EQ(one.exit_status(), exit_status{killed_by{SIGTERM}});
}

}  // namespace
}  // namespace troupe::test
