// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/region.hpp"

namespace troupe {

/// A flag that threads of any processes set, clear and wait for.
///
/// Copies of it are the same flag; what holds for every handle is told at object_kind.
///
/// @follows Python's Event, except that a `set()` ends every wait that had begun, also if `clear()`
///   comes right after it.
/// @threads any.
/// @crosses the same flag at both ends.
/// @worker_dies the flag stays as it is. If it dies in `set()`, threads that wait notice within a
///   fraction of a second.
/// @throws what every handle throws, see object_kind.
class event : public detail::object_handle {
 public:
  /// A flag that is not set.
  ///
  /// @throws error{resource_exhausted}.
  event();
  /// The same, with a name.
  ///
  /// @throws error{resource_exhausted}.
  explicit event(const object_options& options);

  /// Sets the flag, and ends all waits.
  void set() const;
  /// Takes the flag back: later waits block until the next `set()`.
  void clear() const;
  /// The flag is set at this moment.
  [[nodiscard]] bool is_set() const;

  /// Waits for the flag.
  ///
  /// @blocks until the flag is set.
  /// @throws error{resource_exhausted} if 240 processes have the object.
  void wait() const;
  /// As wait, for a limited time.
  ///
  /// @returns false: it was not set.
  /// @blocks for at most `timeout`; zero or less looks once.
  template <class Rep, class Period>
  [[nodiscard]] bool wait_for(const std::chrono::duration<Rep, Period>& timeout) const {
    return wait_within(detail::deadline_after(timeout));
  }
  /// As wait_for, until `when`, on any clock that std::chrono has.
  ///
  /// @returns false: it was not set.
  /// @blocks until `when` at most.
  template <class Clock, class Duration>
  [[nodiscard]] bool wait_until(const std::chrono::time_point<Clock, Duration>& when) const {
    return detail::wait_on_clock(when,
                                 [&](const detail::deadline& until) { return wait_within(until); });
  }

  /// The same flag.
  [[nodiscard]] bool operator==(const event& other) const noexcept { return same(other); }
  /// @{
  /// How the codec writes and reads a handle.
  void save(output_archive& ar) const { save_handle(ar); }
  void load(input_archive& ar);
  /// @}

 private:
  [[nodiscard]] bool wait_within(const detail::deadline& until) const;
};

}  // namespace troupe
