// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

#include <chrono>

namespace troupe {

/// A flag that threads of any processes set, clear and wait for.
///
/// Copies of it are the same flag.
///
/// @follows Python's Event, except that a `set()` ends every wait that had begun, also if `clear()`
///   comes right after it.
/// @crosses the same flag at both ends. A process dies: the flag stays as it is; nobody waits
///   longer for that.
class event : public detail::object_handle {
 public:
  /// A flag that is not set.
  ///
  /// @throws error{resource_exhausted}.
  event();
  explicit event(const object_options& options);

  void set();
  void clear();
  [[nodiscard]] bool is_set() const;

  /// @blocks until the flag is set.
  void wait() const;
  /// @blocks for at most `timeout`; zero or less looks once. False: it was not set.
  template <class Rep, class Period>
  [[nodiscard]] bool wait_for(const std::chrono::duration<Rep, Period>& timeout) const {
    return wait_within(detail::deadline_after(timeout));
  }
  /// @blocks until `when` at most, on any clock that std::chrono has. False: it was not set.
  template <class Clock, class Duration>
  [[nodiscard]] bool wait_until(const std::chrono::time_point<Clock, Duration>& when) const {
    return detail::wait_on_clock(when,
                                 [&](const detail::deadline& until) { return wait_within(until); });
  }

  [[nodiscard]] bool operator==(const event& other) const noexcept { return same(other); }
  void save(output_archive& ar) const { save_handle(ar); }
  void load(input_archive& ar);

 private:
  [[nodiscard]] bool wait_within(const detail::deadline& until) const;
};

}  // namespace troupe
