// SPDX-License-Identifier: BSD-3-Clause
// A program whose files are replaced or removed while it runs goes on as what it is, and names in
// backtraces only what ran. The programs are processes of upgrade_victim.cpp, whose paths the build
// gives.
#include "troupe/start_method.hpp"

#include "support/run_program.hpp"
#include "support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

namespace troupe::test {
namespace {

namespace fs = std::filesystem;

struct builds {
  const char* name;
  fs::path program;
  fs::path next_program;
  fs::path library;
  fs::path next_library;
};
const builds with_id{"WithBuildId", TROUPE_UPGRADE_VICTIM, TROUPE_UPGRADE_VICTIM_NEXT,
                     TROUPE_UPGRADE_LIBRARY, TROUPE_UPGRADE_LIBRARY_NEXT};
const builds without_id{"WithoutBuildId", TROUPE_UPGRADE_VICTIM "_plain",
                        TROUPE_UPGRADE_VICTIM_NEXT "_plain", TROUPE_UPGRADE_LIBRARY_PLAIN,
                        TROUPE_UPGRADE_LIBRARY_PLAIN_NEXT};

class Upgrade : public testing::TestWithParam<std::tuple<start_method, const builds*>> {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "the sanitizers report crashes themselves";
#endif
    const builds& from = *std::get<1>(GetParam());
    fs::copy_file(from.program, program_);
    fs::copy_file(from.next_program, next_program_);
    fs::copy_file(from.library, library_);
    fs::copy_file(from.next_library, next_library_);
  }

  void expect_truth(const run_result& run) const {
    SCOPED_TRACE(run.output);
    EXPECT_TRUE(run.ended);
    EXPECT_EQ(run.status, 0);
    EXPECT_EQ(run.output.find("never_ran"), std::string::npos) << "that did not run";
    for (const char* line : {"library: ", "program: ", "throw: "}) {
      EXPECT_NE(run.output.find(line), std::string::npos) << line;
    }
#if TROUPE_TEST_SYMBOLS
    EXPECT_NE(run.output.find("library: library_crash"), std::string::npos)
        << "exported, so that the program itself knows it";
    EXPECT_NE(run.output.find(": troupe::test::program_crash(int) at "), std::string::npos)
        << "the program runs, so its file is there, whatever it is called";
    EXPECT_NE(run.output.find("throw: troupe::test::program_throw(int) at "), std::string::npos);
#endif
  }

  temp_dir dir_;
  std::string method_{to_string(std::get<0>(GetParam()))};
  std::string program_ = dir_.path() / "program";
  std::string next_program_ = dir_.path() / "next_program";
  std::string library_ = dir_.path() / "library.so";
  std::string next_library_ = dir_.path() / "next_library.so";
};

TEST_P(Upgrade, NothingIsNamedThatDidNotRunWhereFilesWereReplaced) {
  expect_truth(run_program({program_, method_, library_, next_program_, next_library_}));
}

TEST_P(Upgrade, WhatRanIsNamedWhereFilesWereRemoved) {
  expect_truth(run_program({program_, method_, library_}));
}

INSTANTIATE_TEST_SUITE_P(Every, Upgrade,
                         testing::Combine(testing::Values(start_method::forkserver,
                                                          start_method::spawn, start_method::fork),
                                          testing::Values(&with_id, &without_id)),
                         [](const auto& of) {
                           return std::string{to_string(std::get<0>(of.param))} +
                                  std::get<1>(of.param)->name;
                         });

}  // namespace
}  // namespace troupe::test
