// SPDX-License-Identifier: BSD-3-Clause
#include "supervision/causes.hpp"

#include "script.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

// FAULTS F02, OTP's table: a `shutdown` of its own is an end with success here.

struct otp_cell {
  restart type;
  const char* reason;
  end_cause cause;
  bool again;
};
class OtpTable : public testing::TestWithParam<otp_cell> {};

TEST_P(OtpTable, SaysWhoIsStartedAgain) {
  const otp_cell& cell = GetParam();
  script tree{script::rules(strategy::one_for_one), script::specs({"a"}, cell.type)};
  tree.start_all();
  const std::string done = tree.end("a", cell.cause);
  if (cell.again) {
    EXPECT_EQ(done, "start a") << cell.reason;
  } else {
    EXPECT_EQ(done, cell.type == restart::temporary ? "forget a" : "") << cell.reason;
  }
}

INSTANTIATE_TEST_SUITE_P(
    F02, OtpTable,
    testing::Values(otp_cell{restart::permanent, "normal", end_cause::finished, true},
                    otp_cell{restart::permanent, "shutdown", end_cause::finished, true},
                    otp_cell{restart::permanent, "abnormal", end_cause::exit_code, true},
                    otp_cell{restart::permanent, "signal", end_cause::signal, true},
                    otp_cell{restart::transient, "normal", end_cause::finished, false},
                    otp_cell{restart::transient, "shutdown", end_cause::finished, false},
                    otp_cell{restart::transient, "abnormal", end_cause::exit_code, true},
                    otp_cell{restart::transient, "signal", end_cause::signal, true},
                    otp_cell{restart::temporary, "normal", end_cause::finished, false},
                    otp_cell{restart::temporary, "shutdown", end_cause::finished, false},
                    otp_cell{restart::temporary, "abnormal", end_cause::exit_code, false},
                    otp_cell{restart::temporary, "signal", end_cause::signal, false}));

// Every cause and every kind of restart, against the lists as they were decided.

const std::vector<std::string> counted{
    "threw",       "exit_code",        "signal",       "own_memory",      "own_cpu",
    "start_limit", "missed_heartbeat", "failed_probe", "ended_too_early", "gave_up"};
const std::vector<std::string> free_of_charge{
    "finished", "stopped_by_user", "restarted_by_user", "reload",
    "sibling",  "recycled",        "scaled_down",       "moved",
    "shutdown", "charged_to_task", "pool_kill"};
const std::vector<std::string> forgiven{"fork_server", "neighbor",       "machine_memory",
                                        "node_lost",   "program_paused", "engine_unreachable"};

bool has(const std::vector<std::string>& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

TEST(Causes, AreEachInOneOfTheThreeLists) {
  for (const cause_rule& rule : cause_table) {
    const charge expected = has(counted, rule.name)          ? charge::counts
                            : has(free_of_charge, rule.name) ? charge::free
                                                             : charge::forgiven;
    EXPECT_EQ(rule.costs, expected) << rule.name;
    EXPECT_TRUE(expected != charge::forgiven || has(forgiven, rule.name)) << rule.name;
  }
  EXPECT_EQ(counted.size() + free_of_charge.size() + forgiven.size(), cause_table.size());
}

class CauseAndType : public testing::TestWithParam<std::tuple<std::size_t, restart>> {};

TEST_P(CauseAndType, CostsAndWaitsAsItsListSays) {
  const cause_rule& rule = cause_table[std::get<0>(GetParam())];
  const restart type = std::get<1>(GetParam());
  supervisor_rules rules;
  rules.limits.backoff = rules.limits.max_backoff = 1s;
  rules.limits.jitter = 0;
  script tree{rules, script::specs({"a"}, type)};
  tree.start_all();
  tree.end("a", rule.cause);

  const bool too_early = type == restart::permanent && rule.cause == end_cause::finished;
  const bool replaced = rule.then == follow_up::replace;
  const bool stays = rule.then == follow_up::none || (type == restart::temporary && !replaced) ||
                     (type == restart::transient && rule.cause == end_cause::finished);
  const bool counts = !stays && (too_early || rule.costs == charge::counts);
  EXPECT_EQ(tree.decides().picture(tree.now()).counted, counts ? 1 : 0);
  if (stays) {
    EXPECT_EQ(tree.phase("a"), type == restart::temporary ? "forgotten" : "stopped");
  } else if (rule.costs == charge::forgiven) {
    EXPECT_EQ(tree.phase("a"), "pausing");
    EXPECT_EQ(tree.decides().picture(tree.now()).children[0].forgiven, 1);
    EXPECT_EQ(tree.pass(1s), "start a");
  } else {
    EXPECT_EQ(tree.phase("a"), "starting");
  }
}

INSTANTIATE_TEST_SUITE_P(All, CauseAndType,
                         testing::Combine(testing::Range<std::size_t>(0, cause_table.size()),
                                          testing::Values(restart::permanent, restart::transient,
                                                          restart::temporary)));

TEST(Causes, OfAPlainEndComeFromItsStatus) {
  EXPECT_EQ(cause_of(exited{0}, {0}), end_cause::finished);
  EXPECT_EQ(cause_of(exited{3}, {0}), end_cause::exit_code);
  EXPECT_EQ(cause_of(exited{3}, {0, 3}), end_cause::finished);
  EXPECT_EQ(cause_of(exited{0}, {}), end_cause::exit_code);
  EXPECT_EQ(cause_of(killed_by{9}, {0}), end_cause::signal);
}

/// The row as docs/supervision.md has it.
std::string as_row(const cause_rule& rule) {
  constexpr const char* costs[] = {"counts", "free", "forgiven"};
  constexpr const char* then[] = {"by type", "replaced", "stays down"};
  return "| `" + std::string{rule.name} + "` | " + std::string{rule.meaning} + " | " +
         costs[static_cast<std::size_t>(rule.costs)] + " | " +
         then[static_cast<std::size_t>(rule.then)] + " |";
}

TEST(Causes, AreInTheDocumentationAsInTheTable) {
  std::ifstream file{TROUPE_DOCS "/supervision.md"};
  ASSERT_TRUE(file) << TROUPE_DOCS;
  std::stringstream all;
  all << file.rdbuf();
  std::string table;
  for (const cause_rule& rule : cause_table) {
    table += as_row(rule) + "\n";
  }
  EXPECT_NE(all.str().find(table), std::string::npos) << "the table has to be:\n" << table;
}

}  // namespace
}  // namespace troupe::detail
