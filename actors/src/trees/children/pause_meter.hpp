// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/policy.hpp"

#include <chrono>

namespace troupe::detail {

/// Makes a clock that stands still while the whole program is stopped (SIGSTOP, a debugger, a
/// machine without time for it), so that time limits are not over because of that.
///
/// It knows of a stop by a sleep that ended much later than it should have. A stop that falls into
/// one sleep is not seen, so limits sleep in parts of the time that they allow.
///
/// @threads one at a time.
class pause_meter {
 public:
  /// What a sleep may be late on a busy machine.
  static constexpr std::chrono::milliseconds slack{100};

  /// The program's time at that real time.
  [[nodiscard]] steady_time program_time(steady_time real) const noexcept { return real - lost_; }
  /// The real time at which the program's time will be `when`, if it is not stopped until then.
  [[nodiscard]] steady_time real_time(steady_time when) const noexcept {
    return when == steady_time::max() ? when : when + lost_;
  }
  /// A sleep that was to end at `due` ended at `real`, both in real time.
  void woke(steady_time due, steady_time real) noexcept {
    if (real > due && real - due > slack) {
      lost_ += real - due;
    }
  }
  [[nodiscard]] std::chrono::nanoseconds lost() const noexcept { return lost_; }

 private:
  std::chrono::nanoseconds lost_{0};
};

}  // namespace troupe::detail
