// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/region.hpp"

#include <cstddef>

namespace troupe {

namespace detail {

/// What both semaphores are.
class semaphore_handle : public object_handle {
 public:
  /// Takes a permit.
  ///
  /// @blocks until there is one.
  /// @throws error{resource_exhausted} if 240 processes have the object.
  void acquire() const;
  /// Takes a permit if there is one. Does not wait for one.
  ///
  /// @returns false: there is none.
  /// @throws as acquire.
  [[nodiscard]] bool try_acquire() const;
  /// As acquire, for a limited time.
  ///
  /// @returns false: the time was over first.
  /// @blocks for at most `timeout`; zero or less tries once.
  /// @throws as acquire.
  template <class Rep, class Period>
  [[nodiscard]] bool try_acquire_for(const std::chrono::duration<Rep, Period>& timeout) const {
    return acquire_within(deadline_after(timeout));
  }
  /// As try_acquire_for, until `when`, on any clock that std::chrono has.
  ///
  /// @returns false: the time was over first.
  /// @blocks until `when` at most.
  /// @throws as acquire.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_acquire_until(const std::chrono::time_point<Clock, Duration>& when) const {
    return wait_on_clock(when, [&](const deadline& until) { return acquire_within(until); });
  }

  /// Gives `count` permits back: the calling process's own first, then those of the processes that
  /// hold most, as one process may release what another has acquired; those beyond all that are
  /// held are new.
  ///
  /// @throws std::invalid_argument unless `count` is positive; std::logic_error if a bounded
  ///   semaphore would have more permits than it began with, std::overflow_error if there would be
  ///   more than can be counted. Then nothing is changed.
  void release(std::ptrdiff_t count = 1) const;

  /// The number of permits that were free a moment ago.
  [[nodiscard]] std::ptrdiff_t value() const;

 protected:
  using object_handle::object_handle;
  static std::shared_ptr<region> make(std::ptrdiff_t permits, const object_options& options,
                                      bool bounded);
  static std::shared_ptr<region> make_default(bool bounded);
  void load_semaphore(input_archive& ar, bool bounded);

 private:
  bool acquire_within(const deadline& until) const;
};

}  // namespace detail

/// Limits how many threads of any processes do something at once, by permits that they take and
/// give back.
///
/// Copies of it are the same semaphore; what holds for every handle is told at object_kind.
///
/// @follows std::counting_semaphore, Python's Semaphore: `release` may go beyond the first number.
/// @threads any; permits belong to processes, not to threads.
/// @crosses the same semaphore at both ends.
/// @worker_dies the permits that it took and that were not released are given back. For permits
///   that are signals, taken by one process and never released, that is one signal too many: use an
///   event or a queue there.
/// @throws what every handle throws, see object_kind.
class semaphore : public detail::semaphore_handle {
 public:
  /// A semaphore with one permit.
  ///
  /// @throws error{resource_exhausted}.
  semaphore();
  /// A semaphore with `permits` permits, all free.
  ///
  /// @throws std::invalid_argument if `permits` is negative; error{resource_exhausted}.
  explicit semaphore(std::ptrdiff_t permits, const object_options& options = {});

  /// The same semaphore.
  [[nodiscard]] bool operator==(const semaphore& other) const noexcept { return same(other); }
  /// @{
  /// How the codec writes and reads a handle.
  void save(output_archive& ar) const { save_handle(ar); }
  void load(input_archive& ar) { load_semaphore(ar, false); }
  /// @}
};

/// A semaphore whose `release` throws std::logic_error rather than to go beyond the first number.
///
/// All else is as with `semaphore`.
///
/// @follows Python's BoundedSemaphore.
/// @threads any; permits belong to processes, not to threads.
/// @crosses the same semaphore at both ends.
/// @worker_dies as with semaphore.
/// @throws what every handle throws, see object_kind.
class bounded_semaphore : public detail::semaphore_handle {
 public:
  /// A semaphore with one permit.
  ///
  /// @throws error{resource_exhausted}.
  bounded_semaphore();
  /// A semaphore with `permits` permits, all free; there are never more.
  ///
  /// @throws std::invalid_argument if `permits` is negative; error{resource_exhausted}.
  explicit bounded_semaphore(std::ptrdiff_t permits, const object_options& options = {});

  /// The same semaphore.
  [[nodiscard]] bool operator==(const bounded_semaphore& other) const noexcept {
    return same(other);
  }
  /// @{
  /// How the codec writes and reads a handle.
  void save(output_archive& ar) const { save_handle(ar); }
  void load(input_archive& ar) { load_semaphore(ar, true); }
  /// @}
};

}  // namespace troupe
