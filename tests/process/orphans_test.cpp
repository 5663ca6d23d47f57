// SPDX-License-Identifier: BSD-3-Clause
// What tasks leave running, and what of it has ended: it is no business of the tasks that follow.
#include "troupe/process.hpp"

#include "fault_fixture.hpp"

#include <sys/wait.h>

#include <cerrno>
#include <cstdlib>
#include <stdexcept>

namespace troupe::test {
namespace {

struct Orphans : fault_test {};

TROUPE_FOR_EVERY_START_METHOD(Orphans);

/// How many children of this process have ended and were not waited for.
int zombies_here() {
  std::ifstream children{"/proc/self/task/" + std::to_string(::getpid()) + "/children"};
  int found = 0;
  for (int pid = 0; children >> pid;) {
    found += is_alive(pid) ? 0 : 1;
  }
  return found;
}

/// A process whose parent ends, and which ends then.
int leave_one_that_ends(const std::string& pids) {
  const pid_t parent = ::fork();
  if (parent == 0) {
    if (::fork() == 0) {
      report(pids, ::getpid());
      ::_exit(0);
    }
    ::_exit(0);
  }
  ::waitpid(parent, nullptr, 0);
  return 0;
}

int wait_for_any_child(int code) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(code);
  }
  int status = 0;
  return ::wait(&status) == child ? WEXITSTATUS(status) : -1;
}

bool is_there(int pid) {
  return ::kill(pid, 0) == 0 || errno != ESRCH;
}

TEST_P(Orphans, ThatHaveEndedAreReapedAndATasksWaitGetsItsOwnChild) {
  if (GetParam() == start_method::fork) {
    GTEST_SKIP() << "the init process adopts them";
  }
  pool p{crew_of(1)};
  const std::string pids = fresh_file();
  for (int i = 0; i < 20; ++i) {
    p.apply(leave_one_that_ends, pids);
  }
  EXPECT_TRUE(eventually([&] {
    const std::vector<int> all = reported(pids);
    return all.size() == 20 && std::ranges::none_of(all, is_there);
  }));
  EXPECT_EQ(p.apply(wait_for_any_child, 42), 42);
  EXPECT_EQ(p.apply(zombies_here), 0);
}

/// A daemon that only forks, and one that executes a program.
int leave_daemons(const std::string& pids) {
  const pid_t first = ::fork();
  if (first == 0) {
    ::setsid();
    if (::fork() == 0) {
      report(pids, ::getpid());
      for (;;) {
        ::pause();
      }
    }
    if (::fork() == 0) {
      report(pids, ::getpid());
      ::execl("/bin/sleep", "sleep", "1000", nullptr);
      ::_exit(1);
    }
    ::_exit(0);
  }
  ::waitpid(first, nullptr, 0);
  return ::getpid();
}

TEST_P(Orphans, OfALiveWorkerSurviveTheDeathOfAnother) {
  if (GetParam() == start_method::fork) {
    GTEST_SKIP() << "the init process adopts them";
  }
  pool one{crew_of(1)};
  pool other{crew_of(1)};
  const std::string of_one = fresh_file();
  const std::string of_other = fresh_file();
  const int first = one.apply(leave_daemons, of_one);
  const int second = other.apply(leave_daemons, of_other);
  const auto all_are_there = [](const std::string& file) {
    return eventually([&] { return reported(file).size() == 2; });
  };
  ASSERT_TRUE(all_are_there(of_one) && all_are_there(of_other));
  const auto all_have_gone = [](const std::string& file) {
    return eventually([&] { return std::ranges::none_of(reported(file), is_there); });
  };
  ::kill(second, SIGKILL);
  EXPECT_TRUE(all_have_gone(of_other));
  for (const int pid : reported(of_one)) {
    EXPECT_TRUE(is_alive(pid));
  }
  ::kill(first, SIGKILL);
  EXPECT_TRUE(all_have_gone(of_one));
}

/// Leaves one that no longer has what it inherited.
int leave_one_without_environment(const std::string& pids) {
  const pid_t first = ::fork();
  if (first == 0) {
    ::setsid();
    if (::fork() == 0) {
      report(pids, ::getpid());
      char* const none[] = {nullptr};
      ::execle("/bin/sleep", "sleep", "1000", nullptr, none);
      ::_exit(1);
    }
    ::_exit(0);
  }
  ::waitpid(first, nullptr, 0);
  return 0;
}

void leave_one_and_return(const std::string& pids, start_method method) {
  pool_options how;
  how.workers = 1;
  how.start = method;
  pool p{how};
  p.apply(leave_one_without_environment, pids);
  if (!eventually([&] { return reported(pids).size() == 1; })) {
    throw std::runtime_error{"it did not begin"};
  }
}

// In a process of its own, because it ends with the fork server.
TEST_P(Orphans, WithoutTheirEnvironmentEndWithTheirProgram) {
  if (GetParam() == start_method::fork) {
    GTEST_SKIP() << "the init process adopts them";
  }
  const std::string pids = fresh_file();
  process program{leave_one_and_return, pids, GetParam()};
  program.start();
  program.join();
  ASSERT_EQ(reported(pids).size(), 1U);
  EXPECT_TRUE(eventually([&] { return !is_there(reported(pids).front()); }));
}

}  // namespace
}  // namespace troupe::test
