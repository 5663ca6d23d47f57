// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/region.hpp"
#include "troupe/mutex.hpp"

#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace troupe {

/// Lets threads of any processes wait, without a mutex of theirs, until others notify them.
///
/// Copies of it are the same condition; what holds for every handle is told at object_kind. Waits
/// are given the mutex itself or a std::unique_lock of it, which the caller has locked: a
/// `recursive_mutex` is released whole and gets its levels back. Condition and mutex must be on the
/// same machine.
///
/// @follows std::condition_variable_any, Python's Condition (`notify(n)`). `notify` reaches threads
///   that wait at that moment, the longest waiting first, and none that comes later. Waits do not
///   end for no reason, except for the process deaths below.
/// @threads any.
/// @crosses the same condition at both ends.
/// @worker_dies while it waits: the notification it had and did not return with goes to the next
///   thread. While it notifies: it has notified as many as it said, or none.
/// @throws from waits std::system_error{operation_not_permitted} if the caller has not locked the
///   mutex; error{resource_exhausted} if 1000 threads wait already; error{not_on_this_machine} if
///   condition and mutex are of different machines; from all members what every handle throws, see
///   object_kind.
class condition : public detail::object_handle {
 public:
  /// A new condition, for which no thread waits.
  ///
  /// @throws error{resource_exhausted}.
  condition();
  /// The same, with a name.
  ///
  /// @throws error{resource_exhausted}.
  explicit condition(const object_options& options);

  /// Waits without the mutex until the condition is notified.
  ///
  /// @blocks until notified, and then until the mutex is the caller's again.
  template <class Lock>
  void wait(Lock& lock) const {
    static_cast<void>(wait_within(mutex_of(lock), std::nullopt));
  }
  /// Waits until `ready()`, which is asked with the mutex locked: at once, and after each
  /// notification.
  ///
  /// @blocks until `ready()` is true.
  /// @throws what `ready` throws.
  template <class Lock, class Predicate>
  void wait(Lock& lock, Predicate ready) const {
    while (!ready()) {
      wait(lock);
    }
  }
  /// As wait, for a limited time.
  ///
  /// @returns std::cv_status::timeout if it was not notified in time.
  /// @blocks for at most `timeout`, and then until the mutex is the caller's again; zero or less
  ///   only lets others have the mutex.
  template <class Lock, class Rep, class Period>
  std::cv_status wait_for(Lock& lock, const std::chrono::duration<Rep, Period>& timeout) const {
    return status(wait_within(mutex_of(lock), detail::deadline_after(timeout)));
  }
  /// As wait with `ready`, for a limited time.
  ///
  /// @returns what `ready` said last.
  /// @blocks as the other wait_for.
  /// @throws what `ready` throws.
  template <class Lock, class Rep, class Period, class Predicate>
  [[nodiscard]] bool wait_for(Lock& lock, const std::chrono::duration<Rep, Period>& timeout,
                              Predicate ready) const {
    return wait_for_predicate(lock, detail::deadline_after(timeout), ready);
  }
  /// As wait_for, until `when`, on any clock that std::chrono has.
  ///
  /// @returns std::cv_status::timeout if it was not notified in time.
  /// @blocks until `when` at most, and then until the mutex is the caller's again.
  template <class Lock, class Clock, class Duration>
  std::cv_status wait_until(Lock& lock,
                            const std::chrono::time_point<Clock, Duration>& when) const {
    return status(detail::wait_on_clock(
        when, [&](const detail::deadline& until) { return wait_within(mutex_of(lock), until); }));
  }
  /// As wait with `ready`, until `when`, on any clock that std::chrono has.
  ///
  /// @returns what `ready` said last.
  /// @blocks as the other wait_until.
  /// @throws what `ready` throws.
  template <class Lock, class Clock, class Duration, class Predicate>
  [[nodiscard]] bool wait_until(Lock& lock, const std::chrono::time_point<Clock, Duration>& when,
                                Predicate ready) const {
    while (!ready()) {
      if (wait_until(lock, when) == std::cv_status::timeout) {
        return ready();
      }
    }
    return true;
  }

  /// Wakes the thread that has waited longest, if there is one.
  void notify_one() const { notify(1); }
  /// Wakes `count` of the threads that wait now, or all if there are fewer. The mutex need not be
  /// locked.
  ///
  /// @throws std::invalid_argument if `count` is negative.
  void notify(std::ptrdiff_t count) const;
  /// Wakes all threads that wait now.
  void notify_all() const;

  /// Threads that were waiting and not notified, a moment ago.
  [[nodiscard]] std::size_t waiting() const;

  /// The same condition.
  [[nodiscard]] bool operator==(const condition& other) const noexcept { return same(other); }
  /// @{
  /// How the codec writes and reads a handle.
  void save(output_archive& ar) const { save_handle(ar); }
  void load(input_archive& ar);
  /// @}

 private:
  static const detail::lock_handle& mutex_of(const mutex& lock) noexcept { return lock; }
  static const detail::lock_handle& mutex_of(const recursive_mutex& lock) noexcept { return lock; }
  template <class Mutex>
  static const detail::lock_handle& mutex_of(const std::unique_lock<Mutex>& lock) {
    check_owns(lock.owns_lock());
    return *lock.mutex();
  }
  static void check_owns(bool owns);
  static std::cv_status status(bool notified) {
    return notified ? std::cv_status::no_timeout : std::cv_status::timeout;
  }
  template <class Lock, class Predicate>
  bool wait_for_predicate(Lock& lock, const detail::deadline& until, Predicate& ready) const {
    while (!ready()) {
      if (!wait_within(mutex_of(lock), until)) {
        return ready();
      }
    }
    return true;
  }
  [[nodiscard]] bool wait_within(const detail::lock_handle& with,
                                 const detail::deadline& until) const;
};

}  // namespace troupe
