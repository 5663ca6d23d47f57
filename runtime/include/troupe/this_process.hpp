// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/futex.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace troupe {

/// The number of CPUs that this process may really use: its affinity mask, cut down to the cgroup's
/// CPU quota (v1 and v2, rounded up), at least 1. The environment variable TROUPE_CPUS, a number of
/// 1 or more, overrides both, but not in a set-uid program.
///
/// @follows loky's cpu_count; Python's os.process_cpu_count, which ignores the quota.
[[nodiscard]] int usable_cpus();

namespace detail {
class descriptor;
}  // namespace detail

/// The process that started this one.
///
/// It is known by a pidfd, so another process that gets the same pid later is not taken for it.
///
/// @follows multiprocessing.parent_process.
/// @blocks no member but `join_for`.
/// @threads any.
/// @crosses no.
class parent_process {
 public:
  /// No process: pid 0, and no sentinel.
  parent_process() = default;
  /// Made by the library when a process begins; `sentinel` is a pidfd.
  parent_process(std::int64_t pid, std::string name,
                 std::shared_ptr<const detail::descriptor> sentinel);

  /// The operating system's id of it.
  [[nodiscard]] std::int64_t pid() const noexcept { return pid_; }
  /// Its `this_process::name()`.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// It has not ended.
  [[nodiscard]] bool is_alive() const;
  /// Waits until it has ended. When it ends, the library ends this process soon, too.
  ///
  /// @returns false: the time was over first.
  /// @blocks for at most `timeout`; a negative time only looks.
  template <class Rep, class Period>
  bool join_for(std::chrono::duration<Rep, Period> timeout) const {
    return wait(detail::deadline_after(timeout));
  }
  /// A descriptor that is readable once it has ended (for poll, epoll, `wait_readable`); stays this
  /// object's. -1 for no process.
  [[nodiscard]] int sentinel() const noexcept;

 private:
  bool wait(const detail::deadline& until) const;

  std::int64_t pid_ = 0;
  std::string name_;
  std::shared_ptr<const detail::descriptor> sentinel_;
};

/// About the calling process.
namespace this_process {

/// The operating system's id of this process.
[[nodiscard]] std::int64_t pid() noexcept;

/// The id of the worker that this process is, 0 in a process that was not started by this library.
/// Ids are never reused within one program, pids are.
[[nodiscard]] std::uint64_t worker_id() noexcept;

/// This process is a worker of a pool.
[[nodiscard]] bool is_worker() noexcept;

/// The name of this process for people: "main", "troupe-w3" in the worker with the id 3, or what
/// the `process` was named.
[[nodiscard]] std::string name();

/// This process was started as a `process` that is a daemon.
[[nodiscard]] bool is_daemon() noexcept;

/// The process that started this `process`; nothing in other processes, workers among them.
[[nodiscard]] std::optional<parent_process> parent();

}  // namespace this_process

namespace detail {
/// Resident memory of a process in bytes; 0 if that cannot be had.
[[nodiscard]] std::uint64_t resident_bytes(std::int64_t pid) noexcept;
/// Makes this process what a `process` object of `parent` runs.
void become_process(std::string name, bool daemon, parent_process parent);
}  // namespace detail
}  // namespace troupe
