// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"
#include "troupe/policy.hpp"
#include "troupe/start_method.hpp"
#include "troupe/this_process.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace troupe {

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
  /// retries do not count for `pool_options::restart`.
  int retries = 0;
  /// Says whether to try again after this error (worker_lost, timeout_error, or what the task
  /// threw). Called after every failed attempt while retries are left, on the thread of the
  /// callbacks; if it throws, that means no. Unset: again after worker_lost only.
  std::function<bool(const error&)> retry_if{};
  /// How long to wait before the first retry; doubles with each further one, up to a minute.
  std::chrono::milliseconds backoff{0};
  /// Time between asking a running task to stop and killing its worker. Unset: the pool's.
  std::optional<std::chrono::milliseconds> grace{};
  /// What error texts call it, next to its number. Up to 200 bytes, no control characters.
  std::string label{};
  /// Tasks with the same key run on the same worker while that lives, no matter which thread
  /// submits them, so that what the worker keeps for them is warm. Empty: on any. A worker that is
  /// replaced or retired loses its keys; they go to others.
  std::string affinity{};
};

/// How a pool is made: `troupe::pool pool{{.workers = 4}};`
struct pool_options {
  /// Worker processes, 1 to 4096; unless `min_workers` or `max_workers` is given.
  int workers = usable_cpus();
  /// Tasks that one worker has begun at the same time, 1 to 65536: what a coroutine
  /// (troupe/task.hpp) waits for leaves its worker to others. Tasks that are none run one at a time
  /// in any case.
  int concurrency = 1;
  /// Runs once in every worker, also in replacements, before its first task: `troupe::call(f,
  /// args...)`. If it throws, the pool's constructor throws that exception.
  bound_call initializer{};
  /// A worker is recycled after this many tasks (tasks, not chunks); its replacement is started
  /// first.
  std::optional<int> max_tasks_per_worker{};
  /// A worker is recycled when it is this old, between tasks; as above.
  std::optional<std::chrono::milliseconds> max_worker_age{};
  /// A worker is recycled when its resident memory exceeds this many bytes after a task; as above.
  std::optional<std::uint64_t> max_worker_rss{};
  /// With this or `max_workers` the pool is elastic: it starts with `min_workers` (unset: 1),
  /// starts more up to `max_workers` (unset: `workers`) while tasks are waiting, and lets go of
  /// those that had nothing to do for `idle_timeout`.
  std::optional<int> min_workers{};
  /// The most workers of an elastic pool, see `min_workers`.
  std::optional<int> max_workers{};
  /// How long a worker of an elastic pool stays without work, see `min_workers`.
  std::chrono::milliseconds idle_timeout{10'000};
  /// How workers are started. Unset: get_start_method() when the pool is made.
  std::optional<start_method> start{};
  /// How many deaths of workers are too many; then the pool ends with pool_broken.
  restart_policy restart{};
  /// Time between SIGTERM and SIGKILL, and between asking a task to stop and killing its worker.
  std::chrono::milliseconds grace{3'000};
  /// Time for a worker to come up, its initializer included.
  std::chrono::milliseconds start_timeout{60'000};
  /// Tasks that may wait in the pool before a submission blocks; 0: no bound.
  std::size_t max_queued = 0;
  /// The most bytes of one task's encoded arguments, or of its encoded result.
  std::uint64_t max_payload_bytes = std::uint64_t{64} << 30;
  /// The options of what is submitted to the pool itself. What is submitted through `with` has the
  /// options of that call alone: these do not apply to it.
  task_options task_defaults{};
  /// What workers write to stderr goes through a pipe to the program's stderr, unchanged, and the
  /// last lines of one that dies are in its worker_lost. A process that outlives its worker finds
  /// the pipe closed. Costs a descriptor a worker; where too few are allowed (RLIMIT_NOFILE) it is
  /// done without, which is logged. False: workers have the program's stderr itself, for tasks that
  /// want to know that it is a terminal.
  bool capture_stderr = true;
  /// What reports and error texts call the pool.
  std::string name = "pool";
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
