// SPDX-License-Identifier: BSD-3-Clause
#include "process/oom_watch.hpp"

#include "support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace troupe::test {
namespace {

using detail::oom_watch;

struct OomWatch : testing::Test {
  OomWatch() {
    set(group, 5);
    set(machine, 9);
  }
  static void set(const std::string& path, int kills) {
    std::ofstream{path} << "oom_kill_disable 0\nunder_oom 0\noom_kill " << kills << "\nother 3\n";
  }
  temp_dir dir;
  std::string group = (dir.path() / "group").string();
  std::string machine = (dir.path() / "machine").string();
};

TEST_F(OomWatch, CountersThatStandStillSayNo) {
  oom_watch watch{group, machine};
  EXPECT_EQ(watch.judge(), oom_kill::no);
}

TEST_F(OomWatch, AKillInTheGroupExplainsOneDeath) {
  oom_watch watch{group, machine};
  set(group, 6);
  set(machine, 10);
  EXPECT_EQ(watch.judge(), oom_kill::yes);
  EXPECT_EQ(watch.judge(), oom_kill::no);
}

TEST_F(OomWatch, TwoKillsThatAreSeenTogetherExplainTwoDeaths) {
  oom_watch watch{group, machine};
  set(group, 7);
  set(machine, 11);
  EXPECT_EQ(watch.judge(), oom_kill::yes);
  EXPECT_EQ(watch.judge(), oom_kill::yes);
  EXPECT_EQ(watch.judge(), oom_kill::no);
}

TEST_F(OomWatch, AKillElsewhereOnTheMachineIsNoEvidence) {
  oom_watch watch{group, machine};
  set(machine, 10);
  EXPECT_EQ(watch.judge(), oom_kill::unknown);
  EXPECT_EQ(watch.judge(), oom_kill::no);
}

TEST_F(OomWatch, WithoutAnyCounterItIsNotKnown) {
  oom_watch watch{"/nowhere/a", "/nowhere/b"};
  EXPECT_EQ(watch.judge(), oom_kill::unknown);
}

TEST_F(OomWatch, WithoutTheGroupTheMachineCanOnlyRuleItOut) {
  oom_watch watch{"", machine};
  EXPECT_EQ(watch.judge(), oom_kill::no);
  set(machine, 10);
  EXPECT_EQ(watch.judge(), oom_kill::unknown);
}

}  // namespace
}  // namespace troupe::test
