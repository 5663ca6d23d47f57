// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

// Who a process is, for ledgers that outlive it: its pid, and when it started, as pids are reused.
namespace troupe::detail {

/// Pid in the upper, start time in the lower half. Never 0.
[[nodiscard]] std::uint64_t own_identity() noexcept;

/// That process will never execute another instruction. When in doubt, it may.
[[nodiscard]] bool is_gone(std::uint64_t identity) noexcept;

/// Thread id by the kernel's count, remembered for the thread.
[[nodiscard]] std::uint32_t own_thread() noexcept;
[[nodiscard]] std::uint32_t own_pid() noexcept;

/// Raised in every forked child: what was remembered of the parent does not hold there. Counts from
/// 1, after the first call of watch_forks.
[[nodiscard]] std::uint32_t fork_generation() noexcept;
/// Before the first of the above.
void watch_forks() noexcept;

}  // namespace troupe::detail
