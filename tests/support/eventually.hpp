// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <functional>

namespace troupe::test {

/// The one deadline of all tests that wait. It bounds a failure, it is no expectation of speed.
inline constexpr std::chrono::seconds eventually_deadline{30};

/// Whether `condition` became true before the deadline. Asks at once, and then again and again.
///
/// Use: EXPECT_TRUE(eventually([&] { return pool.workers().size() == 2; }));
[[nodiscard]] bool eventually(const std::function<bool()>& condition,
                              std::chrono::milliseconds limit = eventually_deadline);

}  // namespace troupe::test
