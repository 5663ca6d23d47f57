// SPDX-License-Identifier: BSD-3-Clause
// The program that has the pool ends, in every way there is: nothing of it stays. The programs are
// processes of fault_victim.cpp, whose path the build gives.
#include "fault_fixture.hpp"

#include <spawn.h>
#include <sys/wait.h>

#include <sstream>
#include <thread>
#include <tuple>

extern char** environ;

namespace troupe::test {
namespace {

/// A running fault_victim, in a session of its own as from a terminal.
class victim {
 public:
  victim(start_method method, const std::string& state, const std::string& end) {
    std::set<int> before{::getpid()};
    for (const process_entry& process : our_processes()) {
      before.insert(process.pid);
    }
    std::array<int, 2> out{};
    std::array<int, 2> err{};
    if (::pipe2(out.data(), O_CLOEXEC) != 0 || ::pipe2(err.data(), O_CLOEXEC) != 0) {
      throw std::runtime_error{"no pipe"};
    }
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    std::string program = TROUPE_FAULT_VICTIM;
    std::string method_name{to_string(method)};
    std::string state_name = state;
    std::string end_name = end;
    std::array<char*, 5> arguments{program.data(), method_name.data(), state_name.data(),
                                   end_name.data(), nullptr};
    const int code =
        ::posix_spawn(&pid_, program.c_str(), &actions, &attributes, arguments.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    ::close(err[1]);
    out_ = out[0];
    err_ = err[0];
    if (code != 0) {
      throw std::system_error{code, std::generic_category(), program};
    }
    // Its end of file comes too if it dies before it has said anything.
    std::string text;
    for (char c = 0; ::read(out_, &c, 1) == 1 && c != '\n';) {
      text += c;
    }
    // It carries our mark, so it counts us among its own.
    std::istringstream numbers{text};
    for (int number = 0; numbers >> number;) {
      if (!before.contains(number)) {
        pids_.push_back(number);
      }
    }
  }
  ~victim() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    close_output();
    ::close(err_);
  }
  victim(const victim&) = delete;
  victim& operator=(const victim&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const std::vector<int>& pids() const { return pids_; }
  [[nodiscard]] int fork_server() const {
    for (const process_entry& process : our_processes()) {
      if (process.name == "troupe-server" && process.parent == pid_) {
        return process.pid;
      }
    }
    return -1;
  }

  void close_output() {
    if (out_ >= 0) {
      ::close(std::exchange(out_, -1));
    }
  }

  /// Waits for its end.
  exit_status wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    if (WIFSIGNALED(status)) {
      return killed_by{WTERMSIG(status)};
    }
    return exited{WEXITSTATUS(status)};
  }
  /// What it and its workers wrote to standard error; ends when all of them have ended.
  std::string errors() {
    std::string text;
    std::array<char, 4096> buffer{};
    for (ssize_t n = 0; (n = ::read(err_, buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<std::size_t>(n));
    }
    return text;
  }

 private:
  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  std::vector<int> pids_;
};

struct FaultOfProgram : fault_test {
  /// All that the victim named is gone, and whatever carries our mark.
  static void expect_nothing_left(const victim& v) {
    for (const int pid : v.pids()) {
      EXPECT_TRUE(eventually([&] { return !is_alive(pid); })) << pid << " of " << v.pids().front();
    }
    EXPECT_TRUE(eventually([&] { return count_processes("troupe-w") == 0; }))
        << describe_our_processes();
    EXPECT_TRUE(eventually([&] { return fork_servers().size() == 1; })) << describe_our_processes();
  }
};
TROUPE_FOR_EVERY_START_METHOD(FaultOfProgram);

constexpr std::array<std::pair<const char*, std::size_t>, 5> states{
    {{"idle", 6}, {"busy", 6}, {"stay", 6}, {"descendants", 10}, {"nested", 12}}};

// C01, C03
TEST_P(FaultOfProgram, KilledItLeavesNothing) {
  for (const auto& [state, at_least] : states) {
    SCOPED_TRACE(state);
    victim v{GetParam(), state, "wait"};
    ASSERT_GE(v.pids().size(), at_least);
    ::kill(v.pid(), SIGKILL);
    EXPECT_EQ(v.wait(), (exit_status{killed_by{SIGKILL}}));
    expect_nothing_left(v);
  }
}

// C01: with workers that are stopped at that moment.
TEST_P(FaultOfProgram, KilledItLeavesNoStoppedWorkerEither) {
  victim v{GetParam(), "stay", "wait"};
  ASSERT_GE(v.pids().size(), 6U);
  for (const process_entry& process : our_processes()) {
    if (process.name.starts_with("troupe-w")) {
      ::kill(process.pid, SIGSTOP);
    }
  }
  ::kill(v.pid(), SIGKILL);
  v.wait();
  expect_nothing_left(v);
}

// C01: the guardian first, and then the program it guards.
TEST_P(FaultOfProgram, KilledTogetherWithItsForkServerItLeavesNoWorker) {
  victim v{GetParam(), "stay", "wait"};
  ASSERT_GE(v.pids().size(), 6U);
  const int server = v.fork_server();
  ASSERT_GT(server, 0);
  ::kill(server, SIGKILL);
  ::kill(v.pid(), SIGKILL);
  v.wait();
  expect_nothing_left(v);
}

// C01: what it asked of its guardian counts, even if that is read only after its end.
TEST_P(FaultOfProgram, KilledWhileItsForkServerLagsBehindItLeavesNothing) {
  victim v{GetParam(), "slow_guardian", "wait"};
  ASSERT_GE(v.pids().size(), 10U);
  const int server = v.fork_server();
  ASSERT_GT(server, 0);
  ::kill(v.pid(), SIGKILL);
  EXPECT_EQ(v.wait(), (exit_status{killed_by{SIGKILL}}));
  ::kill(server, SIGCONT);
  expect_nothing_left(v);
}

// C04
TEST_P(FaultOfProgram, HoweverItEndsByItselfItLeavesNothing) {
  const std::vector<std::pair<const char*, exit_status>> ends{{"segv", killed_by{SIGSEGV}},
                                                              {"abort", killed_by{SIGABRT}},
                                                              {"_exit", exited{5}},
                                                              {"quick_exit", exited{6}}};
  for (const char* state : {"idle", "stay"}) {
    for (const auto& [end, status] : ends) {
      SCOPED_TRACE(std::string{state} + " " + end);
      victim v{GetParam(), state, end};
      ASSERT_GE(v.pids().size(), 6U);
      EXPECT_EQ(v.wait(), status);
      expect_nothing_left(v);
    }
  }
}

// C05
TEST_P(FaultOfProgram, SigtermEndsItAndAllItsWorkers) {
  for (const char* state : {"idle", "busy", "stay"}) {
    SCOPED_TRACE(state);
    victim v{GetParam(), state, "wait"};
    ASSERT_GE(v.pids().size(), 6U);
    ::kill(v.pid(), SIGTERM);
    EXPECT_EQ(v.wait(), (exit_status{killed_by{SIGTERM}}));
    expect_nothing_left(v);
  }
}

// C05
TEST_P(FaultOfProgram, AHandlerOfSigtermMayEndThePool) {
  victim v{GetParam(), "stay", "handler"};
  ASSERT_GE(v.pids().size(), 6U);
  ::kill(v.pid(), SIGTERM);
  EXPECT_EQ(v.wait(), (exit_status{exited{0}})) << v.errors();
  expect_nothing_left(v);
}

// C06
TEST_P(FaultOfProgram, CtrlCIsTheProgramsBusinessAlone) {
  for (const char* state : {"idle", "busy", "stay"}) {
    for (const bool handled : {false, true}) {
      SCOPED_TRACE(std::string{state} + (handled ? " handled" : " default"));
      if (handled && std::string_view{state} == "busy") {
        continue;
      }
      victim v{GetParam(), state, handled ? "handler" : "wait"};
      ASSERT_GE(v.pids().size(), 6U);
      ::kill(-v.pid(), SIGINT);  // to its foreground group, as a terminal does
      EXPECT_EQ(v.wait(), handled ? (exit_status{exited{0}}) : (exit_status{killed_by{SIGINT}}));
      expect_nothing_left(v);
      EXPECT_EQ(v.errors(), "");
    }
  }
}

// C06: a signal to each worker by itself, as an operator may send with `kill -INT`.
TEST_P(FaultOfProgram, WorkersIgnoreSigint) {
  pool p{crew_of()};
  const auto before = p.workers();
  for (const worker_info& worker : before) {
    ::kill(static_cast<pid_t>(worker.pid), SIGINT);
  }
  expect_whole(p);
  EXPECT_EQ(p.workers(), before);
}

// C08
TEST_P(FaultOfProgram, ItsTerminalMayGoAway) {
  victim v{GetParam(), "stay", "handler"};
  ASSERT_GE(v.pids().size(), 6U);
  v.close_output();
  ::kill(v.pid(), SIGTERM);
  EXPECT_EQ(v.wait(), (exit_status{exited{0}})) << v.errors();
  expect_nothing_left(v);
  victim hung_up{GetParam(), "stay", "wait"};
  ASSERT_GE(hung_up.pids().size(), 6U);
  ::kill(-hung_up.pid(), SIGHUP);
  EXPECT_EQ(hung_up.wait(), (exit_status{killed_by{SIGHUP}}));
  expect_nothing_left(hung_up);
}

// C09
TEST_P(FaultOfProgram, ItMayLeaveMainOrExitWithALivePool) {
  for (const char* state : {"idle", "busy", "stay"}) {
    for (const auto& [end, code] :
         {std::pair{"return", 8}, std::pair{"exit", 7}, std::pair{"static", 8}}) {
      SCOPED_TRACE(std::string{state} + " " + end);
      victim v{GetParam(), state, end};
      ASSERT_GE(v.pids().size(), 6U);
      EXPECT_EQ(v.wait(), exit_status{exited{code}});
      expect_nothing_left(v);
      // The pool that ends while tasks wait says so, which depends on how far they came.
      const std::string errors = v.errors();
      if (errors.find(" had begun, which its destructor cancels") == std::string::npos ||
          std::string_view{state} == "idle") {
        EXPECT_EQ(errors, "");
      }
      EXPECT_LE(std::count(errors.begin(), errors.end(), '\n'), 1) << errors;
    }
  }
}

// C11
TEST_P(FaultOfProgram, ThePoolOutlivesTheThreadThatMadeIt) {
  std::optional<pool> p;
  const std::string running = fresh_file();
  const std::string gate = fresh_file();
  future<int> task;
  std::thread{[&] {
    p.emplace(crew_of());
    task = p->apply_async(wait_at, running, gate);
    static_cast<void>(eventually([&] { return marks(running) == 1; }));
  }}.join();
  const auto before = p->workers();
  EXPECT_EQ(p->apply(square, 4), 16);
  mark(gate);
  EXPECT_EQ(task.get(), 1);
  expect_whole(*p);
  EXPECT_EQ(p->workers(), before);
  EXPECT_EQ(p->stats().deaths, 0U);
}

// C14
TEST_P(FaultOfProgram, ACallbackMayThrowBlockSubmitAndCloseThePool) {
  pool p{crew_of()};
  std::atomic<bool> release{false};
  std::atomic<int> called{0};
  std::atomic<int> nested{0};
  p.apply_async(square, 1).on_result([](int) { throw std::runtime_error{"from a callback"}; });
  p.apply_async(square, 2).on_result([&](int) {
    release.wait(false);
    ++called;
  });
  const future<int> third = p.apply_async(square, 3);
  third.on_result([&](int) { nested = p.apply(square, 9); });
  // Outcomes need no callback: with one that blocks, the others' values come all the same.
  std::vector<future<int>> others;
  for (int i = 0; i < 100; ++i) {
    others.push_back(p.apply_async(square, i));
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(others[static_cast<std::size_t>(i)].get(), i * i);
  }
  EXPECT_EQ(called, 0);
  // So that its callback comes before the one that closes the pool.
  EXPECT_TRUE(third.wait_for(eventually_deadline));
  release = true;
  release.notify_all();
  p.apply_async(square, 4).on_done([&](const auto&) { p.close(); });
  EXPECT_TRUE(eventually([&] {
    try {
      p.apply(square, 1);
      return false;
    } catch (const pool_closed&) {
      return true;
    }
  }));
  p.join();
  EXPECT_EQ(called, 1);
  EXPECT_EQ(nested, 81);
}

}  // namespace
}  // namespace troupe::test
