// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/workers/pool_state.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace troupe::detail {

/// What is said of a task that ran out of time.
[[nodiscard]] std::string overrun(const process_submission& work, stop_reason why);
/// What is told of an item that a worker had begun when it ended.
[[nodiscard]] failure loss_of(const pool_state& state, const worker_record& worker,
                              const sent_range& sent, std::uint32_t item,
                              const exit_notice& notice);
/// The same for the list of an item's attempts.
[[nodiscard]] attempt_end end_of_attempt(const failure& loss);
/// What is told of a worker that ended before it was ready.
[[nodiscard]] std::shared_ptr<const failure> end_of_start(const pool_state& state, std::int64_t pid,
                                                          const exit_notice& notice,
                                                          std::optional<crash_report> crash);

}  // namespace troupe::detail
