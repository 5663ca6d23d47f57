// SPDX-License-Identifier: BSD-3-Clause
#include "support/no_leaks.hpp"

#include <string>

namespace troupe::test {
namespace {

// Bounds a failure only; processes that were told to go need moments.
constexpr std::chrono::seconds goodbye_deadline{10};

std::string name_of_this_test() {
  const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
  return info == nullptr ? "a test" : std::string{info->test_suite_name()} + '.' + info->name();
}

}  // namespace

no_leaks::no_leaks(std::chrono::seconds time_limit) : watchdog_{time_limit, name_of_this_test()} {}

no_leaks::~no_leaks() {
  const std::string left = check_.leftovers(goodbye_deadline);
  EXPECT_TRUE(left.empty()) << "left behind or changed by the test:\n" << left;
}

}  // namespace troupe::test
