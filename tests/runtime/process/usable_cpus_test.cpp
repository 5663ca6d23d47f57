// SPDX-License-Identifier: BSD-3-Clause
// How many CPUs a process may use, by its affinity mask and by TROUPE_CPUS.
#include "troupe/this_process.hpp"

#include "support/forked.hpp"
#include "support/no_leaks.hpp"

#include <gtest/gtest.h>

#include <sched.h>
#include <stdlib.h>

namespace troupe {
namespace {

using test::forked;

struct UsableCpus : test::no_leaks {};

/// In a child: usable_cpus() with TROUPE_CPUS set to `text`, or without it.
int with_variable(const char* text) {
  return forked{[&] {
           text == nullptr ? ::unsetenv("TROUPE_CPUS") : ::setenv("TROUPE_CPUS", text, 1);
           return usable_cpus();
         }}
      .wait();
}

TEST_F(UsableCpus, AreOneWhereTheAffinityMaskHasOne) {
  forked child{[] {
    ::unsetenv("TROUPE_CPUS");
    cpu_set_t mask;
    if (::sched_getaffinity(0, sizeof mask, &mask) != 0) {
      return 77;
    }
    int first = 0;
    while (!CPU_ISSET(first, &mask)) {
      ++first;
    }
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    return ::sched_setaffinity(0, sizeof mask, &mask) == 0 ? usable_cpus() : 77;
  }};
  const int code = child.wait();
  if (code == 77) {
    GTEST_SKIP() << "this process may not change its affinity mask";
  }
  EXPECT_EQ(code, 1);
}

TEST_F(UsableCpus, AreAtLeastOneAndAtMostTheMask) {
  cpu_set_t mask;
  ASSERT_EQ(::sched_getaffinity(0, sizeof mask, &mask), 0);
  const int counted = with_variable(nullptr);
  EXPECT_GE(counted, 1);
  EXPECT_LE(counted, CPU_COUNT(&mask));
}

TEST_F(UsableCpus, AreWhatTheVariableSays) {
  EXPECT_EQ(with_variable("7"), 7);
  EXPECT_EQ(with_variable("1"), 1);
}

TEST_F(UsableCpus, AVariableThatIsNoNumberOfAtLeastOneIsIgnored) {
  const int counted = with_variable(nullptr);
  for (const char* const text : {"0", "-3", "x", "", "7x", "7.5"}) {
    EXPECT_EQ(with_variable(text), counted) << '"' << text << '"';
  }
}

}  // namespace
}  // namespace troupe
