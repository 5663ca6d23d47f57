// SPDX-License-Identifier: BSD-3-Clause
// The library where little of a program is left: in exit handlers, in destructors of static objects
// and of thread_locals, and before main. The programs are processes of late_user.cpp, whose path
// the build gives. (Issue 9, numbers 4 and 5.)
#include "pool_fixture.hpp"
#include "support/watchdog.hpp"

#include <spawn.h>
#include <sys/wait.h>

#include <array>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

extern char** environ;

namespace troupe::test {
namespace {

struct ended_program {
  int status = -1;  ///< as waitpid tells
  std::string output;
};

ended_program run_late_user(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), TROUPE_LATE_USER);
  std::vector<char*> pointers;
  for (std::string& one : arguments) {
    pointers.push_back(one.data());
  }
  pointers.push_back(nullptr);
  std::array<int, 2> out{};
  if (::pipe2(out.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error{"no pipe"};
  }
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  pid_t pid = 0;
  const int code =
      ::posix_spawn(&pid, pointers.front(), &actions, nullptr, pointers.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(out[1]);
  if (code != 0) {
    throw std::system_error{code, std::generic_category(), arguments.front()};
  }
  ended_program ended;
  std::array<char, 4096> buffer{};
  for (ssize_t bytes = 0; (bytes = ::read(out[0], buffer.data(), buffer.size())) > 0;) {
    ended.output.append(buffer.data(), static_cast<std::size_t>(bytes));
  }
  ::close(out[0]);
  ::waitpid(pid, &ended.status, 0);
  return ended;
}

/// It ended in order, after these lines.
void expect_lines(const std::vector<std::string>& arguments, const std::string& lines) {
  const watchdog dog{2 * eventually_deadline, "late_user " + arguments.front()};
  const ended_program ended = run_late_user(arguments);
  EXPECT_EQ(ended.output, lines);
  EXPECT_TRUE(WIFEXITED(ended.status) && WEXITSTATUS(ended.status) == 0)
      << "as waitpid tells: " << ended.status;
}

TEST(LateUse, ThreadPoolInAnExitHandlerGivesRightResultsAndWritesIntoNoFile) {
  expect_lines({"exit_handler"}, "right\nright\n0 bytes\n");
}

TEST(LateUse, ThreadPoolInAStaticDestructorGivesRightResultsAndWritesIntoNoFile) {
  expect_lines({"static_destructor"}, "right\nright\n0 bytes\n");
}

TEST(LateUse, ThreadPoolInAThreadLocalsDestructorGivesRightResultsAndWritesIntoNoFile) {
  expect_lines({"thread_local_destructor"}, "right\nright\n0 bytes\n");
}

TEST(LateUse, QueueInAnExitHandlerPassesItems) {
  expect_lines({"queue_in_exit_handler"}, "2000\n2000\n3000\n");
}

TEST(LateUse, KeyThatCannotBeProvedAnyMoreIsRefused) {
  expect_lines({"connection_with_a_key"}, "hello\nhello\nrefused\n");
}

TEST(LateUse, StaticExecutorWaitsForItsTasks) {
  expect_lines({"static_thread_executor"}, "the task has ended\n");
}

TEST(LateUse, GlobalSystemIsRefusedWithTheCure) {
  const ended_program ended = run_late_user({"a_global_system"});
  EXPECT_TRUE(ended.output.starts_with("refused: troupe: a troupe::system cannot be a global"))
      << ended.output;
}

struct LateUseWithSystem : every_start_method {
  [[nodiscard]] static std::string method() { return std::string{to_string(GetParam())}; }
};
TROUPE_FOR_EVERY_START_METHOD(LateUseWithSystem);

TEST_P(LateUseWithSystem, SubmissionAfterTheSystemIsRefused) {
  expect_lines({"submission_after_the_system", method()}, "3\nrefused: pool_closed\n");
}

TEST_P(LateUseWithSystem, CallbackAfterTheSystemIsRefused) {
  const std::string refused = "refused: pool_closed\n";
  expect_lines({"callback_after_the_system", method()}, refused + refused + refused + "3\n");
}

TEST_P(LateUseWithSystem, PoolMayOutliveTheSystem) {
  expect_lines({"pool_that_outlives_the_system", method()}, "right\nrefused: pool_closed\n3\n");
}

TEST_P(LateUseWithSystem, StaticSystemServesStaticPoolsToTheEnd) {
  expect_lines({"static_system", method()},
               "right\nthread_local: right\nexit handler: right\nstatic destructor: right\n"
               "executor: 7\n");
}

TEST_P(LateUseWithSystem, StaticSystemEndsInExit) {
  expect_lines({"static_system_and_exit", method()}, "3\n");
}

TEST_P(LateUseWithSystem, CallbackMayExit) {
  expect_lines({"exit_in_callback", method()}, "3\n");
}

TEST_P(LateUseWithSystem, LogHookMayExit) {
  expect_lines({"exit_in_log_hook", method()}, "3\nlogged\n");
}

TEST_P(LateUseWithSystem, TaskThatExitsEndsItsWorkerAlone) {
  expect_lines({"exit_in_task", method()}, "2\n3\nexit code 3\n4\nexit handler of main\n");
}

TEST_P(LateUseWithSystem, ProcessHasStaticPoolsOfItsOwn) {
  expect_lines({"child_processes", method()}, "right\nchild: 2\nchild: right\nexit code 0\n");
}

TEST_P(LateUseWithSystem, SystemEndsWhileAThreadThatMadeAPoolStays) {
  expect_lines({"thread_that_made_a_pool", method()}, "3\nthe system has ended\n");
}

TEST_P(LateUseWithSystem, StoppedForkServerIsNotWaitedFor) {
  expect_lines({"fork_server_is_stopped", method()}, "3\n");
}

TEST_P(LateUseWithSystem, MayEndWhileThreadsUseItsPools) {
  expect_lines({"threads_use_the_pool_at_its_end", method()}, "all have an outcome\n");
}

TEST_P(LateUseWithSystem, MayEndWhileThreadsMakePools) {
  expect_lines({"threads_make_pools_at_its_end", method()}, "each was made or refused\n");
}

TEST(LateUse, ALimitOfProcessesIsAnErrorOfTheSystem) {
  expect_lines({"a_limit_of_processes"}, "each came up or was refused\n");
}

TEST_P(LateUseWithSystem, AForkedChildMayReturnFromMain) {
  expect_lines({"child_returns_from_main", method()},
               "the child ended with 0\n7\na death is noticed\n11 7 8\n");
}

}  // namespace
}  // namespace troupe::test
