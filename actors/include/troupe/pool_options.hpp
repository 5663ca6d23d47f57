// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/detail/clock.hpp"
#include "troupe/policy.hpp"
#include "troupe/restart_limits.hpp"
#include "troupe/start_method.hpp"
#include "troupe/task_options.hpp"
#include "troupe/this_process.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace troupe {

/// How a pool is made: `troupe::pool pool{{.workers = 4}};`
struct pool_options {
  /// Worker processes, 1 to 4096; unless `min_workers` or `max_workers` is given.
  int workers = usable_cpus();
  /// Tasks that one worker has begun at the same time, 1 to 65536: what a coroutine
  /// (troupe/task.hpp) waits for leaves its worker to others. Tasks that are none run one at a time
  /// in any case.
  int concurrency = 1;
  /// Runs once in every worker, also in replacements, before its first task: `troupe::call(f,
  /// args...)`, with arguments of 48 KiB as bytes at most. If it throws, the pool's constructor
  /// throws that exception.
  bound_call initializer{};
  /// A worker is recycled after this many tasks (not chunks), at most: with a limit of many, those
  /// that begin together get less, one after the other. Its replacement is started first.
  std::optional<int> max_tasks_per_worker{};
  /// A worker is recycled when it is this old, between tasks, and works until its replacement is
  /// ready. One that has tasks runs one first, however old it is when it begins.
  std::optional<std::chrono::milliseconds> max_worker_age{};
  /// A worker that holds more bytes of memory than this after a task is recycled at once.
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
  /// How many deaths of workers are too many; then the pool ends with pool_broken. The default allows
  /// more than a supervisor's, because tasks may be expected to crash.
  restart_limits limits{.intensity = 100};
  /// The former name of `limits`, for one more version: what is changed here goes before that.
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

}  // namespace troupe
