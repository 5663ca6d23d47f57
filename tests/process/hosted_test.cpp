// SPDX-License-Identifier: BSD-3-Clause
// Programs with output that they have not flushed, with a terminal, with a limit of file sizes; and
// how their workers leave. The programs are processes of hosted_victim.cpp, whose path the build
// gives. (Issue 11, number 25.)
#include "troupe/process.hpp"

#include "pool_fixture.hpp"
#include "support/run_program.hpp"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

constexpr const char* counters = "TROUPE_TEST_COUNTERS";

}  // namespace

/// What a coverage tool has in a program; the library calls it where a process leaves without exit
/// handlers.
extern "C" void __gcov_dump() {  // NOLINT(bugprone-reserved-identifier): its name is given
  if (const char* const path = ::getenv(counters)) {
    troupe::test::mark(path);
  }
}

namespace troupe::test {
namespace {

class Hosted : public every_start_method {
 protected:
  [[nodiscard]] static run_result run(const std::string& what, const std::string& more = "") {
    return run_program({TROUPE_HOSTED_VICTIM, what, std::string{to_string(GetParam())}, more});
  }
  static std::size_t count(const std::string& text, const std::string& line) {
    std::size_t found = 0;
    for (std::size_t at = 0; (at = text.find(line, at)) != std::string::npos; ++at) {
      ++found;
    }
    return found;
  }
};
TROUPE_FOR_EVERY_START_METHOD(Hosted);

TEST_P(Hosted, WhatAProgramHasNotFlushedComesOutOnce) {
  const run_result got = run("output");
  EXPECT_EQ(got.status, 0);
  std::vector<std::string> lines{"line of cout\n", "line of wcout\n", "line of clog\n",
                                 "line of stdout\n"};
  if (GetParam() != start_method::spawn) {
    lines.emplace_back("before the system\n");
  }
  for (const std::string& line : lines) {
    EXPECT_EQ(count(got.output, line), 1U) << line << "in:\n" << got.output;
  }
}

TEST_P(Hosted, ATaskThatUsesTheTerminalIsNotStopped) {
  const run_result got = run("terminal");
  EXPECT_TRUE(got.ended) << "a worker was stopped";
  EXPECT_EQ(got.status, 0);
  // Workers of the fork server have no terminal.
  EXPECT_EQ(got.output, GetParam() == start_method::fork ? "read: EIO\nset up: done\n"
                                                         : "read: ENXIO\nset up: ENXIO\n");
}

TEST_P(Hosted, ALimitOfFileSizesIsAnErrorAndNoSignal) {
  for (const char* const bytes : {"0", "4096", "65536", "1048576", "100000000"}) {
    const run_result got = run("limit", bytes);
    SCOPED_TRACE(std::string{bytes} + ":\n" + got.output);
    EXPECT_TRUE(got.ended);
    EXPECT_EQ(got.status, 0);
    EXPECT_NE(got.output.find("all: "), std::string::npos);
    if (std::string{bytes} == "1048576") {
      EXPECT_NE(got.output.find("memory: resource_exhausted: "), std::string::npos);
      EXPECT_NE(got.output.find("raise it with ulimit -f"), std::string::npos);
      EXPECT_NE(got.output.find("small again: 3\n"), std::string::npos);
    }
    if (std::string{bytes} == "100000000") {
      EXPECT_EQ(got.output.find("resource_exhausted"), std::string::npos);
    }
  }
}

TEST_P(Hosted, WorkersAndProcessesWriteTheCountersOfACoverageTool) {
  ::setenv(counters, file("of workers").c_str(), 1);
  {
    pool p{options(2)};
    p.map(square, std::vector{1, 2, 3});
    p.close();
    p.join();
  }
  EXPECT_EQ(marks(file("of workers")), 2U);
  ::setenv(counters, file("of an exit").c_str(), 1);
  {
    pool p{options(1)};
    EXPECT_THROW(p.apply([] { std::exit(3); }), worker_lost);
    EXPECT_EQ(marks(file("of an exit")), 1U);
  }
  ::setenv(counters, file("of a process").c_str(), 1);
  process one{process_options{.start = GetParam()}, [] {}};
  one.start();
  one.join();
  EXPECT_EQ(marks(file("of a process")), 1U);
  ::unsetenv(counters);
}

TEST_P(Hosted, WhatATaskHasWrittenIsThereAfterItCallsExit) {
  pool p{options(1)};
  EXPECT_THROW(p.apply(
                   [](const std::string& path) {
                     std::FILE* const out = std::fopen(path.c_str(), "w");
                     std::fputs("written", out);
                     std::exit(3);
                   },
                   file("out")),
               worker_lost);
  EXPECT_EQ(marks(file("out")), 7U);
}

}  // namespace
}  // namespace troupe::test
