// SPDX-License-Identifier: BSD-3-Clause
#include "supervision/spec_check.hpp"

#include "supervision/start_order.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> names_in_order(const std::vector<child_spec>& specs) {
  std::vector<std::string> names;
  for (const std::size_t i : order_of(specs).order) {
    names.push_back(specs[i].name);
  }
  return names;
}

TEST(StartOrder, IsTheOrderOfAddingWithoutEdges) {
  EXPECT_EQ(names_in_order({{.name = "c"}, {.name = "a"}, {.name = "b"}}),
            (std::vector<std::string>{"c", "a", "b"}));
}

TEST(StartOrder, TiesAreByTheOrderOfAdding) {
  EXPECT_EQ(names_in_order({{.name = "z", .after = {"m"}},
                            {.name = "y"},
                            {.name = "m", .after = {"y"}},
                            {.name = "b"}}),
            (std::vector<std::string>{"y", "m", "z", "b"}));
}

TEST(StartOrder, LeavesOutCyclesAndWhatIsBehindThem) {
  const start_order made = order_of({{.name = "a", .after = {"b"}},
                                     {.name = "b", .after = {"a"}},
                                     {.name = "c", .after = {"b"}},
                                     {.name = "d"}});
  EXPECT_EQ(made.order, (std::vector<std::size_t>{3}));
  EXPECT_EQ(made.cycles, (std::vector<std::vector<std::size_t>>{{0, 1}}));
}

TEST(StartOrder, ALongChainTakesNoLongTime) {
  std::vector<child_spec> specs;
  for (int i = 0; i < 10'000; ++i) {
    specs.push_back({.name = std::to_string(i), .after = {std::to_string(i + 1)}});
  }
  EXPECT_EQ(order_of(specs).order.front(), 9'999U);
}

std::string mistakes_in(const std::vector<child_spec>& specs, const supervisor_rules& rules = {}) {
  return to_string(check(rules, specs));
}

TEST(SpecCheck, FindsNothingInGoodSpecs) {
  EXPECT_EQ(mistakes_in({}), "");
  EXPECT_EQ(mistakes_in({{.name = "db"}, {.name = "web", .after = {"db"}}}), "");
}

TEST(SpecCheck, NamesUnknownNamesAndTheNearestOne) {
  EXPECT_EQ(mistakes_in({{.name = "cache"}, {.name = "web", .after = {"cahce"}}}),
            "child 'web': .after names 'cahce', which is no child of this supervisor (did you mean "
            "'cache'?)\n");
  EXPECT_EQ(mistakes_in({{.name = "cache"}, {.name = "web", .after = {"database"}}}),
            "child 'web': .after names 'database', which is no child of this supervisor (add that "
            "child, or take the name out of .after)\n");
}

TEST(SpecCheck, NamesBothChildrenOfOneName) {
  EXPECT_EQ(
      mistakes_in({{.name = "a"}, {.name = "b"}, {.name = "a"}}),
      "child 'a': is there twice, as number 1 and number 3 (give one of them another name)\n");
}

TEST(SpecCheck, NamesCyclesInFull) {
  EXPECT_EQ(
      mistakes_in({{.name = "a", .after = {"b"}},
                   {.name = "b", .after = {"c"}},
                   {.name = "c", .after = {"a"}}}),
      "child 'a': 'a' is after 'b' is after 'c' is after 'a': none of them can be first (take "
      "one of these names out of .after)\n");
}

TEST(SpecCheck, NamesCyclesThatShareAChild) {
  EXPECT_EQ(check({}, {{.name = "hub", .after = {"x", "y"}},
                       {.name = "x", .after = {"hub"}},
                       {.name = "y", .after = {"hub"}}})
                .size(),
            2U);
}

TEST(SpecCheck, ACycleOfOneIsToldOnce) {
  const std::vector<spec_mistake> found = check({}, {{.name = "a", .after = {"a"}}});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].text, "is .after itself");
}

TEST(SpecCheck, ReportsAllMistakesAtOnceEachWithACure) {
  supervisor_rules rules;
  rules.limits = {.intensity = -1,
                  .period = 0s,
                  .start_attempts = 0,
                  .backoff = -1ms,
                  .max_backoff = -2ms,
                  .jitter = 2,
                  .stable_after = -1s,
                  .forever = false};
  rules.max_children = -1;
  const std::vector<spec_mistake> found =
      check(rules, {{.name = ""},
                    {.name = "a/b"},
                    {.name = "s", .significant = true},
                    {.name = "t", .shutdown = -1s, .start_timeout = 0s, .success_codes = {256, -1}},
                    {.name = "u", .after = {"none"}}});
  EXPECT_EQ(found.size(), 8U + 1 + 1 + 2 + 4 + 1) << to_string(found);
  for (const spec_mistake& one : found) {
    EXPECT_FALSE(one.text.empty() || one.cure.empty()) << one.child << one.text;
  }
}

TEST(SpecCheck, SignificantChildrenNeedAnEndAndASupervisorThatCares) {
  supervisor_rules rules;
  rules.auto_shutdown = auto_shutdown::any;
  EXPECT_EQ(mistakes_in({{.name = "a", .restart = restart::transient, .significant = true}}, rules),
            "");
  EXPECT_EQ(check(rules, {{.name = "a", .significant = true}}).size(), 1U) << "permanent";
  EXPECT_EQ(check({}, {{.name = "a", .restart = restart::transient, .significant = true}}).size(),
            1U);
}

TEST(SpecCheck, AStrategyNeedsAChildThatCanBeStartedAgain) {
  supervisor_rules rules;
  rules.strategy = strategy::rest_for_one;
  EXPECT_EQ(check(rules, {{.name = "a", .restart = restart::temporary}}).size(), 1U);
  EXPECT_EQ(check(rules, {{.name = "a", .restart = restart::temporary}, {.name = "b"}}).size(), 0U);
  EXPECT_EQ(check({}, {{.name = "a", .restart = restart::temporary}}).size(), 0U);
}

TEST(SpecCheck, ForeverWithoutABackoffWouldSpin) {
  supervisor_rules rules;
  rules.limits.forever = true;
  rules.limits.backoff = rules.limits.max_backoff = 0ms;
  EXPECT_EQ(check(rules, {}).size(), 1U);
  rules.limits = restart_forever(30s);
  EXPECT_EQ(check(rules, {}).size(), 0U);
}

}  // namespace
}  // namespace troupe::detail
