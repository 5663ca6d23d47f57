// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace troupe {

class error;

/// How one submission is treated: `pool.with({.retries = 2}).apply_async(...)`.
struct task_options {
  /// How long one attempt may run, from the moment a worker begins it. Then its stop_token is set,
  /// and after `grace` its worker is killed and replaced; the future throws timeout_error. Unset:
  /// no limit.
  std::optional<std::chrono::milliseconds> timeout{};
  /// How long all attempts together may take, from the submission. A task that has not begun by
  /// then never does; one that runs is ended as by `timeout`. The future throws timeout_error.
  /// Unset: no limit.
  std::optional<std::chrono::milliseconds> deadline{};
  /// A higher one goes first; among equals the one that was submitted first.
  int priority = 0;
  /// Further attempts after its worker died while running it. A task that throws is not retried,
  /// unless `retry_if` says so: that is its outcome. Deaths that the pool itself causes (recycling,
  /// scaling down, ending another coroutine of the same worker) cost none, and those of a task with
  /// retries do not count for `pool_options::limits`.
  int retries = 0;
  /// Says whether to try again after this error (worker_lost, timeout_error, or what the task
  /// threw). Called after every failed attempt while retries are left, on a thread of the pool for
  /// that, one at a time; callbacks may wait meanwhile. So it must not wait for a task of its pool
  /// that has a `retry_if`. If it throws, that means no. Unset: again after worker_lost only.
  std::function<bool(const error&)> retry_if{};
  /// How long to wait before the first retry; doubles with each further one, up to a minute.
  std::chrono::milliseconds backoff{0};
  /// Time between asking a running task to stop and killing its worker. Unset: the pool's.
  std::optional<std::chrono::milliseconds> grace{};
  /// What error texts call it, next to its number. Up to 200 bytes, no control characters.
  std::string label{};
  /// Tasks with the same key run on the same worker while that lives, no matter which thread
  /// submits them, so that what the worker keeps for them is warm. Empty: on any. New keys are
  /// spread over the workers. A worker that is replaced or retired loses its keys; they go to
  /// others. The pool remembers the 16,384 keys used last; an older one is a new one. In a thread
  /// pool a further thread runs one that a waiting task needs while the key's worker waits itself.
  std::string affinity{};
};

/// How a map travels.
struct map_options {
  /// Items per message; 0 adapts to the measured task time. Outcomes are per item in any case.
  std::size_t chunk = 0;
  /// Items that may be taken from the input before their results were given out. 0: as many as keep
  /// the workers busy; for an executor's map, all items run, read or not.
  std::size_t window = 0;
  /// Time from the call until the last result is given out; then timeout_error instead of each
  /// result that is not there, and what has not begun is cancelled. Unset: no limit. `map_async`
  /// refuses it: its future has waits with a limit of their own.
  std::optional<std::chrono::milliseconds> timeout{};
};

namespace detail {
/// When a map that begins now has to be over.
[[nodiscard]] inline deadline end_of(const map_options& how) {
  return how.timeout ? deadline_after(*how.timeout) : deadline{};
}
}  // namespace detail

/// One worker of a pool.
struct worker_info {
  std::uint64_t id = 0;  ///< never reused, unlike the pid
  std::int64_t pid = 0;  ///< of its process; of a worker thread, the kernel's id of that
  /// Compares both members.
  bool operator==(const worker_info&) const = default;
};

/// Counts of one pool since it was made; `queued`, `running` and `workers` are of this moment.
struct pool_stats {
  std::uint64_t submitted = 0;  ///< tasks, each item of a map counts
  std::uint64_t queued = 0;     ///< not yet with a worker
  std::uint64_t running = 0;    ///< with a worker
  std::uint64_t succeeded = 0;  ///< with a value
  std::uint64_t failed = 0;     ///< threw, lost, timed out
  std::uint64_t cancelled = 0;  ///< cancelled before an outcome
  std::uint64_t retried = 0;    ///< attempts after the first
  std::uint64_t workers = 0;    ///< ready for work
  std::uint64_t deaths = 0;     ///< workers that ended and were not told to
  std::uint64_t recycled = 0;   ///< workers replaced for their number of tasks, age or memory
  std::uint64_t retired = 0;    ///< workers let go because fewer were wanted
};

namespace detail {
/// Checked once, shared by all submissions that are treated alike.
using options_ptr = std::shared_ptr<const task_options>;
/// Checks the options.
///
/// @throws std::invalid_argument that names the member and its value.
options_ptr share_options(const task_options& how);
}  // namespace detail

}  // namespace troupe
