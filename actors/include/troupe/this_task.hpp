// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <stop_token>

/// About the task that is running in this worker right now.
namespace troupe::this_task {

/// Set when somebody cancels the task or its `.timeout` has passed; then it has the grace time to
/// end. Outside of a task: a token that is never set.
///
/// The first call in a worker starts a thread there that watches for requests.
[[nodiscard]] std::stop_token stop_token();

/// The number that error texts name, 0 outside of a task.
[[nodiscard]] std::uint64_t id() noexcept;

/// 1 for the first attempt, more for retries; 0 outside of a task.
[[nodiscard]] std::uint32_t attempt() noexcept;

}  // namespace troupe::this_task
