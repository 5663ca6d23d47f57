// SPDX-License-Identifier: BSD-3-Clause
// Static initializers of linked libraries run in the fork server where it is executed anew, with
// their threads: whatever these do, deaths are noticed, tasks work, and everything ends. The
// programs are processes of load_victim.cpp, whose path the build gives.
#include "troupe/error.hpp"
#include "troupe/start_method.hpp"

#include "support/run_program.hpp"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <tuple>

namespace troupe::test {
namespace {

class ThreadAtLoad : public testing::TestWithParam<std::tuple<start_method, const char*>> {};

/// A line as it is to be, or with "unknown" where the status may have gone to a thread that waits
/// for any child: never anything else.
testing::AssertionResult says(const run_result& run, const std::string& what,
                              const std::string& value, bool may_be_unknown) {
  std::istringstream lines{run.output};
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(what + ": ")) {
      const std::string found = line.substr(what.size() + 2);
      if (found == value || (may_be_unknown && found == "unknown")) {
        return testing::AssertionSuccess();
      }
      return testing::AssertionFailure() << what << ": " << found << " instead of " << value;
    }
  }
  return testing::AssertionFailure() << "nothing was said about " << what;
}

TEST_P(ThreadAtLoad, DeathsAreNoticedAndToldAsTheyWere) {
  const auto [method, mode] = GetParam();
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  if (method == start_method::fork) {
    GTEST_SKIP()
        << "ThreadSanitizer ends copies of programs with threads, and the leak checker takes "
           "what those threads had for leaks when a copy calls exit";
  }
#endif
  const std::string how = mode;
  const run_result run = run_program({TROUPE_LOAD_VICTIM, std::string{to_string(method)}},
                                     {"TROUPE_TEST_AT_LOAD=" + how});
  SCOPED_TRACE(run.output);
  EXPECT_TRUE(run.ended) << "something hung, or was left";
  EXPECT_EQ(run.status, 0);
  const bool stolen =
      how == "reaper" ||
      (method == start_method::fork &&
       (how == "ignored" || how == "handler" || how == "handlers" || how == "main_blocked"));
  EXPECT_TRUE(says(run, "value", "2", false));
  if ((how == "thread" || how == "main_thread" || how == "fork") && method != start_method::fork) {
    EXPECT_TRUE(says(run, "thread", "42", false));
  }
  EXPECT_TRUE(says(run, "killed", to_string(exit_status{killed_by{9}}), stolen));
  EXPECT_TRUE(says(run, "terminated", to_string(exit_status{killed_by{15}}), stolen));
  if (how != "reaper") {
    EXPECT_TRUE(says(run, "child", "5", false));
  }
  EXPECT_TRUE(says(run, "aborted", to_string(exit_status{killed_by{6}}), stolen));
  EXPECT_TRUE(says(run, "exit", to_string(exit_status{exited{3}}), stolen));
  EXPECT_TRUE(says(run, "timeout", "timeout", false));
  if (method != start_method::fork) {
    EXPECT_TRUE(says(run, "daemon gone", "1", false));
  }
  EXPECT_TRUE(says(run, "process", to_string(exit_status{exited{7}}), stolen));
  EXPECT_TRUE(says(run, "killed process", to_string(exit_status{killed_by{9}}), stolen));
  EXPECT_TRUE(says(run, "terminated process", to_string(exit_status{killed_by{15}}), stolen));
  EXPECT_TRUE(
      run.output.ends_with("pool ended\n" + run.output.substr(run.output.find("process:"))));
  EXPECT_TRUE(run.output.ends_with("\nend\n"));
}

/// What is executed has handlers of static initializers before the library has looked.
TEST(ProcessAtLoad, OneThatIsAskedToEndBeforeMainEnds) {
  const run_result run =
      run_program({TROUPE_LOAD_VICTIM, std::string{to_string(start_method::spawn)}},
                  {"TROUPE_TEST_AT_LOAD=asked"});
  EXPECT_TRUE(run.ended) << "something hung, or was left";
  EXPECT_EQ(run.output, "asked early: " + to_string(exit_status{killed_by{15}}) + "\nend\n");
}

INSTANTIATE_TEST_SUITE_P(
    Every, ThreadAtLoad,
    testing::Combine(testing::Values(start_method::forkserver, start_method::spawn,
                                     start_method::fork),
                     testing::Values("thread", "main_thread", "sigwait", "reaper", "ignored",
                                     "handler", "handlers", "blocked", "main_blocked", "fork")),
    [](const auto& of) {
      return std::string{to_string(std::get<0>(of.param))} + "_" + std::get<1>(of.param);
    });

}  // namespace
}  // namespace troupe::test
