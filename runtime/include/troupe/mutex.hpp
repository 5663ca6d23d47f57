// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

#include <chrono>
#include <cstdint>

namespace troupe {

namespace detail {

/// What both mutexes are: a handle of a robust lock in shared memory.
class lock_handle : public object_handle {
 public:
  /// Whether a holder died with the lock since somebody last called `recovered()`: what the lock
  /// guards may be half changed. Ask while holding it.
  [[nodiscard]] bool inherited() const;
  /// What the lock guards is in order again. Call it while holding the lock.
  void recovered();

  /// Ends the caller's hold.
  ///
  /// @throws std::system_error{operation_not_permitted} if the calling thread has not locked it.
  void unlock();

 protected:
  friend class condition_waiter;
  explicit lock_handle(std::shared_ptr<region> object) noexcept
      : object_handle{std::move(object)} {}
  /// False: not before the deadline.
  bool lock_until(const deadline& until, bool recursive);
};

}  // namespace detail

/// A lock between threads of any processes.
///
/// Copies of it are the same lock. std::lock_guard, std::unique_lock and std::scoped_lock work.
///
/// @follows std::timed_mutex, and Python's Lock except that only the thread that locked it unlocks.
/// @threads any, each with a handle of its own or the same one.
/// @crosses the same lock at both ends. A holder dies (its thread or process): the next one gets
///   the lock, and `inherited()` is true until somebody calls `recovered()`. A process that merely
///   stops keeps it.
class mutex : public detail::lock_handle {
 public:
  /// A new lock that nobody holds.
  ///
  /// @throws error{resource_exhausted}.
  mutex();
  explicit mutex(const object_options& options);

  /// @blocks until the lock is the caller's.
  /// @throws std::system_error{resource_deadlock_would_occur} if the thread has it already.
  void lock();
  /// False: somebody has it, maybe the caller.
  [[nodiscard]] bool try_lock();
  /// @blocks for at most `timeout`; zero or less tries once.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& timeout) {
    return try_lock_within(detail::deadline_after(timeout));
  }
  /// @blocks until `when` at most, on any clock that std::chrono has.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) {
    return detail::wait_on_clock(
        when, [&](const detail::deadline& until) { return try_lock_within(until); });
  }

  [[nodiscard]] bool operator==(const mutex& other) const noexcept { return same(other); }
  void save(output_archive& ar) const { save_handle(ar); }
  void load(input_archive& ar);

 private:
  bool try_lock_within(const detail::deadline& until);
};

/// A lock that its holder may take again; it is free after as many `unlock()`.
///
/// Everything else is as with `mutex`.
///
/// @follows std::recursive_timed_mutex, Python's RLock. A holder dies: all its levels are gone, the
///   next one gets the lock at level one.
class recursive_mutex : public detail::lock_handle {
 public:
  /// A new lock that nobody holds.
  ///
  /// @throws error{resource_exhausted}.
  recursive_mutex();
  explicit recursive_mutex(const object_options& options);

  /// @blocks until the lock is the caller's, not at all if it is already.
  /// @throws std::system_error{resource_unavailable_try_again} after 2^32 - 1 levels.
  void lock();
  /// False: another thread has it.
  [[nodiscard]] bool try_lock();
  /// @blocks for at most `timeout`; zero or less tries once.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& timeout) {
    return try_lock_within(detail::deadline_after(timeout));
  }
  /// @blocks until `when` at most, on any clock that std::chrono has.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) {
    return detail::wait_on_clock(
        when, [&](const detail::deadline& until) { return try_lock_within(until); });
  }

  [[nodiscard]] bool operator==(const recursive_mutex& other) const noexcept { return same(other); }
  void save(output_archive& ar) const { save_handle(ar); }
  void load(input_archive& ar);

 private:
  bool try_lock_within(const detail::deadline& until);
};

}  // namespace troupe
