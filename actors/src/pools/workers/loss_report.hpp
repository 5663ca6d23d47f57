// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/workers/pool_state.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace troupe::detail {

/// The text for a task that the supervisor ended because of `why`.
[[nodiscard]] std::string overrun(const process_submission& work, stop_reason why);
/// The failure of an item that a worker had begun when the worker's process ended.
[[nodiscard]] failure loss_of(const pool_state& state, const worker_record& worker,
                              const sent_range& sent, std::uint32_t item,
                              const exit_notice& notice);
/// The same failure as an entry in the list of an item's attempts.
[[nodiscard]] attempt_end end_of_attempt(const failure& loss);
/// The failure of a worker whose process ended before it was ready.
[[nodiscard]] std::shared_ptr<const failure> end_of_start(const pool_state& state, std::int64_t pid,
                                                          const exit_notice& notice,
                                                          std::optional<crash_report> crash);

}  // namespace troupe::detail
