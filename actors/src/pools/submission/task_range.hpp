// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/submission/process_submission.hpp"
#include "scheduling/attempts.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace troupe::detail {

/// Consecutive items of one submission that wait together, with the number of their attempt. Keeps
/// the submission alive.
struct task_range {
  std::shared_ptr<process_submission> work;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  attempt_count attempt{};

  [[nodiscard]] std::uint32_t depth() const { return work->depth; }
  [[nodiscard]] int priority() const { return work->options().priority; }
  [[nodiscard]] const std::string& affinity() const { return work->options().affinity; }
  /// True: its items were decided while it waited, all of them at the same time.
  [[nodiscard]] bool is_over() const { return work->done() || work->decided(first); }
  /// Removes its first `items` and returns them as a range of their own.
  task_range split(std::uint32_t items) {
    task_range front{work, first, items, attempt};
    first += items;
    count -= items;
    return front;
  }
};

}  // namespace troupe::detail
