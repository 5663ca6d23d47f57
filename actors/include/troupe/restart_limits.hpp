// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"

namespace troupe {

/// When a supervisor gives up instead of starting a child again, and how long it waits before it
/// does.
///
/// @follows OTP's supervisor: more than `intensity` restarts within `period`, and the supervisor
///   gives up. OTP has no backoff, and no `forever`.
struct restart_limits {
  int intensity = 5;                               ///< restarts allowed within `period`
  std::chrono::milliseconds period{5'000};         ///< sliding, on the steady clock
  int start_attempts = 3;                          ///< failed starts of a child in a row
  std::chrono::milliseconds backoff{10};           ///< before the second restart in a row; doubles
  std::chrono::milliseconds max_backoff{1'000};    ///< the longest that `backoff` becomes
  double jitter = 0.1;                             ///< the part of a wait that is left to chance
  std::chrono::milliseconds stable_after{10'000};  ///< a run this long: the backoff begins anew
  bool forever = false;  ///< never gives up: only the backoff limits restarts
  /// Compares all members.
  bool operator==(const restart_limits&) const = default;
};

/// Limits of a supervisor that never gives up, and starts a child that dies again and again once in
/// `most`, the jitter apart.
[[nodiscard]] inline restart_limits restart_forever(
    std::chrono::milliseconds most = std::chrono::milliseconds{30'000}) {
  restart_limits limits;
  limits.backoff = most < limits.backoff ? most : limits.backoff;
  limits.max_backoff = most;
  limits.stable_after = most < limits.stable_after ? limits.stable_after : most;
  limits.forever = true;
  return limits;
}

}  // namespace troupe
