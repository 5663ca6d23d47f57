// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/region.hpp"

#include <cstdint>

namespace troupe {

class condition;

namespace detail {

/// What both mutexes are: a handle of a robust lock in shared memory.
class lock_handle : public object_handle {
 public:
  /// A holder died with the lock since `recovered()` was last called: what the lock guards may be
  /// half changed. Ask while holding it.
  [[nodiscard]] bool inherited() const;
  /// Says that what the lock guards is in order again. Call it while holding the lock.
  void recovered() const;

  /// Ends the caller's hold.
  ///
  /// @throws std::system_error{operation_not_permitted} if the calling thread has not locked it.
  void unlock() const;

 protected:
  explicit lock_handle(std::shared_ptr<region> object) noexcept
      : object_handle{std::move(object)} {}
  /// Takes the lock; of a recursive_mutex that the thread has, one more level of it.
  void lock_any() const;
  [[nodiscard]] bool try_lock_any() const;
  /// False: not before the deadline.
  [[nodiscard]] bool lock_until(const deadline& until) const;

 private:
  // A condition waits with the lock itself.
  friend class troupe::condition;
};

}  // namespace detail

/// A lock between threads of any processes.
///
/// Copies of it are the same lock; what holds for every handle is told at object_kind.
/// std::lock_guard, std::unique_lock and std::scoped_lock work.
///
/// @follows std::timed_mutex, and Python's Lock except that only the thread that locked it unlocks.
/// @threads any, each with a handle of its own or the same one.
/// @crosses the same lock at both ends.
/// @worker_dies with the lock (or a thread of it ends): the next thread gets the lock, nothing is
///   thrown, and `inherited()` is true until `recovered()` is called. A process that is only
///   stopped keeps the lock.
/// @throws what every handle throws, see object_kind.
class mutex : public detail::lock_handle {
 public:
  /// A new lock that is free.
  ///
  /// @throws error{resource_exhausted}.
  mutex();
  /// The same, with a name.
  ///
  /// @throws error{resource_exhausted}.
  explicit mutex(const object_options& options);

  /// Takes the lock.
  ///
  /// @blocks until the lock is the caller's.
  /// @throws std::system_error{resource_deadlock_would_occur} if the thread has it already.
  void lock() const;
  /// Takes the lock if it is free. Never blocks.
  ///
  /// @returns false: a thread has it, maybe the calling one.
  [[nodiscard]] bool try_lock() const;
  /// As lock, for a limited time.
  ///
  /// @returns false: the time was over first, or the calling thread has the lock already.
  /// @blocks for at most `timeout`; zero or less tries once.
  /// @throws as lock, for a time of more than ten years, which counts as for ever.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& timeout) const {
    return try_lock_within(detail::deadline_after(timeout));
  }
  /// As try_lock_for, until `when`, on any clock that std::chrono has.
  ///
  /// @returns false: the time was over first, or the calling thread has the lock already.
  /// @blocks until `when` at most.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) const {
    return detail::wait_on_clock(
        when, [&](const detail::deadline& until) { return try_lock_within(until); });
  }

  /// The same lock.
  [[nodiscard]] bool operator==(const mutex& other) const noexcept { return same(other); }
  /// @{
  /// How the codec writes and reads a handle.
  void save(output_archive& ar) const { save_handle(ar); }
  void load(input_archive& ar);
  /// @}

 private:
  bool try_lock_within(const detail::deadline& until) const;
};

/// A lock that its holder may take again; it is free after as many `unlock()`.
///
/// All else is as with `mutex`.
///
/// @follows std::recursive_timed_mutex, Python's RLock.
/// @threads any.
/// @crosses the same lock at both ends.
/// @worker_dies with the lock: all its levels are gone, and the next thread gets the lock at level
///   one, with `inherited()` true.
/// @throws what every handle throws, see object_kind.
class recursive_mutex : public detail::lock_handle {
 public:
  /// A new lock that is free.
  ///
  /// @throws error{resource_exhausted}.
  recursive_mutex();
  /// The same, with a name.
  ///
  /// @throws error{resource_exhausted}.
  explicit recursive_mutex(const object_options& options);

  /// Takes the lock, or one more level of it.
  ///
  /// @blocks until the lock is the caller's, not at all if it is already.
  /// @throws std::system_error{resource_unavailable_try_again} after 2^32 - 1 levels.
  void lock() const;
  /// As lock, but never blocks.
  ///
  /// @returns false: another thread has it.
  /// @throws as lock.
  [[nodiscard]] bool try_lock() const;
  /// As lock, for a limited time.
  ///
  /// @returns false: the time was over first.
  /// @blocks for at most `timeout`; zero or less tries once.
  /// @throws as lock.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& timeout) const {
    return try_lock_within(detail::deadline_after(timeout));
  }
  /// As try_lock_for, until `when`, on any clock that std::chrono has.
  ///
  /// @returns false: the time was over first.
  /// @blocks until `when` at most.
  /// @throws as lock.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) const {
    return detail::wait_on_clock(
        when, [&](const detail::deadline& until) { return try_lock_within(until); });
  }

  /// The same lock.
  [[nodiscard]] bool operator==(const recursive_mutex& other) const noexcept { return same(other); }
  /// @{
  /// How the codec writes and reads a handle.
  void save(output_archive& ar) const { save_handle(ar); }
  void load(input_archive& ar);
  /// @}

 private:
  bool try_lock_within(const detail::deadline& until) const;
};

}  // namespace troupe
