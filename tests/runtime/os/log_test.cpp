// SPDX-License-Identifier: BSD-3-Clause
// Where the library's reports go, and which of them.
#include "troupe/log.hpp"

#include "os/failpoint.hpp"
#include "os/library_thread.hpp"
#include "support/eventually.hpp"
#include "support/forked.hpp"
#include "support/no_leaks.hpp"
#include "support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <latch>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using test::forked;

class Log : public test::no_leaks {
 protected:
  Log() {
    detail::failpoint::reset();  // the table stays for good, once it is there
    take_baseline();
  }
  ~Log() override { set_log_hook({}); }

  /// What a process that runs `body` writes to stderr.
  template <class Body>
  std::string stderr_of(Body body) {
    forked child{[&] {
      const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
      if (file < 0 || ::dup2(file, STDERR_FILENO) < 0) {
        return 1;
      }
      body();
      return 0;
    }};
    EXPECT_EQ(child.wait(), 0);
    std::ifstream file{path_, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
  }

  test::temp_dir folder_;
  std::string path_ = (folder_.path() / "stderr").string();
};

void report_of_every_level() {
  detail::log(log_level::debug, "a debug report");
  detail::log(log_level::info, "an info report");
  detail::log(log_level::warning, "a warning");
  detail::log(log_level::error, "an error");
}

TEST_F(Log, WarningsAndErrorsGoToStderrALineEachAndNothingElse) {
  EXPECT_EQ(stderr_of(report_of_every_level),
            "troupe: warning: a warning\ntroupe: error: an error\n");
}

TEST_F(Log, AReportStaysOneLineWithoutControlCharacters) {
  EXPECT_EQ(stderr_of([] { detail::log(log_level::error, "two\nlines\x1b[2J\tand a tab"); }),
            "troupe: error: two lines [2J\tand a tab\n");
}

TEST_F(Log, AHookGetsAllLevelsAndStderrNothing) {
  using reports = std::vector<std::pair<log_level, std::string>>;
  reports seen;
  set_log_hook([&](log_level level, std::string_view text) { seen.emplace_back(level, text); });
  EXPECT_EQ(stderr_of(report_of_every_level), "");
  report_of_every_level();
  EXPECT_EQ(seen, (reports{{log_level::debug, "a debug report"},
                           {log_level::info, "an info report"},
                           {log_level::warning, "a warning"},
                           {log_level::error, "an error"}}));
}

TEST_F(Log, ReportsOfAThreadThatOthersWaitForComeOnAnotherInTheirOrder) {
  std::vector<std::string> seen;
  bool here = false;
  const auto thread = std::this_thread::get_id();
  set_log_hook([&](log_level, std::string_view text) {
    here = here || std::this_thread::get_id() == thread || detail::no_user_code::is_here();
    seen.emplace_back(text);
  });
  std::vector<std::string> expected;
  for (int i = 0; i < 1000; ++i) {
    const detail::no_user_code others_wait_for_this_thread;
    expected.push_back(std::to_string(i));
    detail::log(log_level::info, expected.back());
  }
  detail::wait_for_log();
  EXPECT_EQ(seen, expected);
  EXPECT_FALSE(here);
  detail::log(log_level::info, "here again");
  EXPECT_EQ(seen.back(), "here again");
  EXPECT_TRUE(here);
}

TEST_F(Log, AForkedChildHasReportsOfItsOwn) {
  std::atomic<int> seen{0};
  std::latch release{1};
  set_log_hook([&](log_level, std::string_view text) {
    seen += text == "of the child" ? 100 : 1;
    release.wait();
  });
  const detail::no_user_code others_wait_for_this_thread;
  detail::log(log_level::info, "of the parent");
  detail::log(log_level::info, "of the parent");
  // Not while that thread begins: AddressSanitizer's lock would be held in the child for ever.
  EXPECT_TRUE(test::eventually([&] { return seen == 1; }));
  forked child{[&] {
    release.count_down();
    detail::log(log_level::info, "of the child");
    return test::eventually([&] { return seen >= 100; }) ? 0 : 1;
  }};
  EXPECT_EQ(child.wait(), 0);
  release.count_down();
  EXPECT_TRUE(test::eventually([&] { return seen == 2; }));
}

TEST_F(Log, WhatAHookThrowsIsIgnored) {
  int calls = 0;
  set_log_hook([&](log_level, std::string_view) {
    ++calls;
    throw std::runtime_error{"from the hook"};
  });
  EXPECT_NO_THROW(report_of_every_level());
  EXPECT_EQ(calls, 4);
}

TEST_F(Log, AnEmptyHookRestoresTheDefault) {
  set_log_hook([](log_level, std::string_view) { ADD_FAILURE() << "it was replaced"; });
  set_log_hook({});
  EXPECT_EQ(stderr_of([] { detail::log(log_level::warning, "again"); }),
            "troupe: warning: again\n");
}

}  // namespace
}  // namespace troupe
