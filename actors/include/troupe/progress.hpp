// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

namespace troupe {

namespace detail {
/// Bytes of a report's text; the rest is cut off.
inline constexpr std::size_t max_progress_text = 200;
}  // namespace detail

/// How much of its work a task has done, in units that the task chooses.
struct task_progress {
  std::uint64_t done = 0;   ///< units that are done
  std::uint64_t total = 0;  ///< units there are; 0: not known
  std::string text;         ///< what the task says about it, for people
  /// Compares all members.
  bool operator==(const task_progress&) const = default;
};

/// Counts by state the items of a map, or the one task of a call, at one moment.
struct task_counts {
  std::uint64_t total = 0;      ///< items
  std::uint64_t queued = 0;     ///< not with a worker: before the first attempt, or the next
  std::uint64_t running = 0;    ///< with a worker
  std::uint64_t succeeded = 0;  ///< with a value
  std::uint64_t failed = 0;     ///< threw, lost, timed out
  std::uint64_t cancelled = 0;  ///< cancelled before an outcome
  std::uint64_t retried = 0;    ///< attempts after the first; of maps only
  /// Compares all members.
  bool operator==(const task_counts&) const = default;
};

}  // namespace troupe
