// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/policy.hpp"
#include "troupe/start_method.hpp"
#include "troupe/this_process.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace troupe {

/// How one submission is treated: `pool.with({.retries = 2}).apply_async(...)`.
struct task_options {
  /// From the moment a worker begins it. Then its stop_token is set, and after `grace` its worker
  /// is killed and replaced; the future throws timeout_error. Unset: no limit.
  std::optional<std::chrono::milliseconds> timeout{};
  /// Higher first; first come first served within one.
  int priority = 0;
  /// Further attempts after its worker died while running it. A task that throws is not retried:
  /// that is its outcome. Deaths that the pool itself causes (recycling) cost none.
  int retries = 0;
  /// Between asking a running task to stop and killing its worker. Unset: the pool's.
  std::optional<std::chrono::milliseconds> grace{};
};

struct pool_options {
  /// Worker processes, 1 to 4096.
  int workers = usable_cpus();
  /// Runs once in every worker, replacements too, before its first task: `troupe::call(f,
  /// args...)`. If it throws, the pool's constructor throws that exception.
  bound_call initializer{};
  /// A worker is recycled after this many tasks (tasks, not chunks); its replacement is started
  /// first.
  std::optional<int> max_tasks_per_worker{};
  /// Unset: get_start_method() when the pool is made.
  std::optional<start_method> start{};
  /// When deaths are too many; then the pool ends with pool_broken.
  restart_policy restart{};
  /// Between SIGTERM and SIGKILL, and between asking a task to stop and killing its worker.
  std::chrono::milliseconds grace{3'000};
  /// For a worker to come up, its initializer included.
  std::chrono::milliseconds start_timeout{60'000};
  /// Tasks waiting in the pool before a submission blocks; 0: no bound.
  std::size_t max_queued = 0;
  /// One task's encoded arguments, or its encoded result.
  std::uint64_t max_payload_bytes = std::uint64_t{64} << 30;
  /// What `with({...})` starts from.
  task_options task_defaults{};
  /// In reports and error texts.
  std::string name = "pool";
};

/// How a map travels.
struct map_options {
  /// Items per message; 0 adapts to the measured task time. Outcomes are per item in any case.
  std::size_t chunk = 0;
  /// Items that may be taken from the input before their results were given out; 0: as many as keep
  /// the workers busy.
  std::size_t window = 0;
};

/// One worker process of a pool.
struct worker_info {
  std::uint64_t id = 0;  ///< never reused, unlike the pid
  std::int64_t pid = 0;
  bool operator==(const worker_info&) const = default;
};

/// Counts of one pool since it was made; `queued`, `running` and `workers` are of this moment.
struct pool_stats {
  std::uint64_t submitted = 0;  ///< tasks, each item of a map counts
  std::uint64_t queued = 0;     ///< not yet with a worker
  std::uint64_t running = 0;    ///< with a worker
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;  ///< threw, lost, timed out
  std::uint64_t cancelled = 0;
  std::uint64_t retried = 0;   ///< attempts after the first
  std::uint64_t workers = 0;   ///< ready for work
  std::uint64_t deaths = 0;    ///< workers that ended and were not told to
  std::uint64_t recycled = 0;  ///< workers that ended after max_tasks_per_worker
};

}  // namespace troupe
