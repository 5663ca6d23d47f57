// SPDX-License-Identifier: BSD-3-Clause
// A program that was started without some of its standard streams, or closes them: nothing of the
// library takes their numbers. The programs are processes of closed_streams_victim.cpp, whose path
// the build gives.
#include "fault_fixture.hpp"

#include <spawn.h>
#include <sys/wait.h>

#include <fstream>
#include <iterator>
#include <string>

extern char** environ;

namespace troupe::test {
namespace {

struct ClosedStreams : pool_test, testing::WithParamInterface<std::string> {
  ClosedStreams() : pool_test{120s} {}

  /// Runs the program to its end; what it complained of.
  std::string run(bool later) const {
    std::string program = TROUPE_CLOSED_STREAMS_VICTIM;
    std::string path = file("report");
    std::string closed = GetParam();
    std::string when = "later";
    std::array<char*, 5> arguments{program.data(), path.data(), closed.data(),
                                   later ? when.data() : nullptr, nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    for (const char number : closed) {
      if (!later) {
        ::posix_spawn_file_actions_addclose(&actions, number - '0');
      }
    }
    pid_t pid = -1;
    const int code =
        ::posix_spawn(&pid, program.c_str(), &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (code != 0) {
      throw std::system_error{code, std::generic_category(), program};
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    std::ifstream in{path};
    std::string complaints{std::istreambuf_iterator<char>{in}, {}};
    if (status != 0) {
      complaints += "its status is " + std::to_string(status) + "\n";
    }
    return complaints;
  }
};

std::string name_of(const testing::TestParamInfo<std::string>& numbers) {
  return "Without" + numbers.param;
}
INSTANTIATE_TEST_SUITE_P(Closed, ClosedStreams,
                         testing::Values("0", "1", "2", "01", "02", "12", "012"), name_of);

TEST_P(ClosedStreams, AProgramStartedSoWorksAndTheNumbersStayFree) {
  EXPECT_EQ(run(false), "");
}

TEST_P(ClosedStreams, AProgramThatClosesThemLaterWorksAndTheNumbersStayFree) {
  EXPECT_EQ(run(true), "");
}

}  // namespace
}  // namespace troupe::test
