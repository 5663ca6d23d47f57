// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>
#include <unordered_map>

// The identity of a process, for records that outlive it: its pid, its start time, because pids are
// reused, and its namespaces, because other processes have the same pid in other ones.
namespace troupe::detail {

/// Namespaces, pid and start time in one word. Never 0.
[[nodiscard]] std::uint64_t own_identity() noexcept;

/// The same for the calling thread alone: it is gone when the thread is. Not that of a process.
[[nodiscard]] std::uint64_t identity_of_this_thread() noexcept;

/// That process will never execute another instruction. When in doubt, it may; so a process of
/// another PID namespace or time namespace always may.
[[nodiscard]] bool is_gone(std::uint64_t identity) noexcept;

/// It is stopped by a signal, and goes on by SIGCONT only.
[[nodiscard]] bool is_stopped(std::int64_t pid) noexcept;

/// Which processes are gone, each looked at once: for many records of the same few processes.
class ended_processes {
 public:
  /// `reported`: the pid of a process whose end the system told; the others are asked by a signal
  /// alone, which does not tell a process that was not waited for, or the next one of that number,
  /// from one that lives, but takes a hundredth of the time. 0: all are looked at closely.
  explicit ended_processes(std::uint32_t reported = 0) noexcept : reported_{reported} {}
  /// As `is_gone`: not of a process of another namespace.
  [[nodiscard]] bool have(std::uint64_t identity);

 private:
  const std::uint32_t reported_;
  std::unordered_map<std::uint64_t, bool> known_;
};

[[nodiscard]] std::uint32_t own_pid() noexcept;
[[nodiscard]] bool is_thread_of_this_process(std::uint64_t thread) noexcept;

/// Raised in every forked child: what was remembered of the parent does not hold there. Counts from
/// 1, after the first call of watch_forks.
inline std::atomic<std::uint32_t> generation_of_forks{0};
[[nodiscard]] inline std::uint32_t fork_generation() noexcept {
  return generation_of_forks.load(std::memory_order_relaxed);
}
/// Call it before the first call of fork_generation.
void watch_forks() noexcept;
/// For objects that may be the first: `fork_generation`, which counts from now on at the latest.
[[nodiscard]] inline std::uint32_t watched_fork_generation() noexcept {
  watch_forks();
  return fork_generation();
}

struct remembered_thread {
  std::uint32_t generation = 0;
  std::uint64_t id = 0;
};
inline constinit thread_local remembered_thread this_thread;
void remember_thread() noexcept;

/// Thread id by the kernel's count, with the number of the PID namespace in the upper half.
/// Remembered for the thread.
[[nodiscard]] inline std::uint64_t own_thread() noexcept {
  if (this_thread.generation != fork_generation()) [[unlikely]] {
    remember_thread();
  }
  return this_thread.id;
}

}  // namespace troupe::detail
