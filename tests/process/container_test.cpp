// SPDX-License-Identifier: BSD-3-Clause
// A program that is PID 1, as in a container: its tree's outcome is its exit code.
#include <gtest/gtest.h>

#include <sys/wait.h>

#include <cstdlib>
#include <string>

namespace troupe::test {
namespace {

/// The exit code of `command` as PID 1 of a new namespace; -1: it did not exit.
int as_pid_1(const std::string& command) {
  const std::string all = "unshare --user --map-root-user --pid --fork --mount-proc --kill-child " +
                          command + " 2>/dev/null";
  const int status = std::system(all.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class Container : public testing::Test {
 protected:
  void SetUp() override {
    if (as_pid_1("true") != 0) {
      GTEST_SKIP() << "this process may not make a PID namespace";
    }
  }
};

TEST_F(Container, ATreeThatWasStoppedThoughEveryProcessWasSignalledIsASuccess) {
  EXPECT_EQ(as_pid_1(TROUPE_CONTAINER_VICTIM " stopped"), 0);
}

TEST_F(Container, ATreeThatGaveUpIsAFailure) {
  EXPECT_EQ(as_pid_1(TROUPE_CONTAINER_VICTIM " gives_up"), 1);
}

}  // namespace
}  // namespace troupe::test
