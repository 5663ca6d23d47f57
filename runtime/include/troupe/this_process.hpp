// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>

namespace troupe {

/// CPUs this process may really use: its affinity mask, cut down to the cgroup's CPU quota (v1 and
/// v2, rounded up), at least 1. The environment variable TROUPE_CPUS, a number of 1 or more,
/// overrides both.
///
/// Follows: loky's cpu_count; Python's os.process_cpu_count, which ignores the quota.
[[nodiscard]] int usable_cpus();

namespace this_process {

/// The operating system's id of this process.
[[nodiscard]] std::int64_t pid() noexcept;

/// The id of the worker that this process is, 0 in a process that is none. Ids are never reused
/// within one program, pids are.
[[nodiscard]] std::uint64_t worker_id() noexcept;

[[nodiscard]] bool is_worker() noexcept;

/// "main", or "troupe-w3" in the worker with the id 3.
[[nodiscard]] std::string name();

}  // namespace this_process

namespace detail {
/// Resident memory of a process in bytes; 0 if that cannot be had.
[[nodiscard]] std::uint64_t resident_bytes(std::int64_t pid) noexcept;
}  // namespace detail
}  // namespace troupe
