// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

// Decisions as pure functions of (policy, history, now), so that tests need no clock.
namespace troupe {

/// A moment of the clock that all decisions use; it is never set back.
using steady_time = std::chrono::steady_clock::time_point;

/// `now + wait`; the largest time point if that would overflow, as for the very long durations that
/// users write for "for ever".
[[nodiscard]] inline steady_time later(steady_time now, std::chrono::milliseconds wait) {
  return wait > std::chrono::hours{24 * 365 * 10} ? steady_time::max() : now + wait;
}

/// The former type of a pool's limits of restarts, of `pool_options::restart`, for one more version:
/// `restart_limits` is what pools and supervisors have.
struct restart_policy {
  int intensity = 100;                           ///< deaths allowed within `period`
  std::chrono::milliseconds period{5'000};       ///< sliding, on the steady clock
  int start_attempts = 3;                        ///< failed starts in a row before giving up
  std::chrono::milliseconds backoff{10};         ///< after the second failed start; doubles
  std::chrono::milliseconds max_backoff{1'000};  ///< the longest that `backoff` becomes
};

/// How long to wait before the attempt after `failed` failed ones: doubles, up to a minute.
[[nodiscard]] inline std::chrono::milliseconds retry_delay(std::chrono::milliseconds backoff,
                                                           std::uint32_t failed) {
  constexpr std::chrono::milliseconds most{60'000};
  const std::uint32_t doublings = std::min(failed - std::min(failed, 1U), 20U);
  return std::min(backoff, most) * (1 << doublings) > most
             ? most
             : std::min(backoff, most) * (1 << doublings);
}

/// How many tasks may be with a worker at once, its running one included: about a millisecond of
/// work. Behind a task that is long or not yet measured no other is sent, so that such tasks begin
/// in the order they were submitted. The round trip between two long tasks is short against them.
[[nodiscard]] inline std::uint32_t window_for(std::chrono::nanoseconds mean_task_time,
                                              bool measured) {
  constexpr std::uint32_t most = 2048;
  if (!measured) {
    return 1;
  }
  const std::int64_t ns = std::max<std::int64_t>(mean_task_time.count(), 1);
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(1 + 1'000'000 / ns, 1, most));
}

/// How many items one chunk takes when the user left it open: about 200 microseconds of work, and
/// small enough that every worker gets several.
[[nodiscard]] inline std::size_t chunk_for(std::chrono::nanoseconds mean_task_time, bool measured,
                                           std::size_t last_chunk) {
  constexpr std::size_t most = 4096;
  if (!measured) {
    return 1;
  }
  const std::int64_t ns = std::max<std::int64_t>(mean_task_time.count(), 1);
  const auto wanted = static_cast<std::size_t>(std::clamp<std::int64_t>(200'000 / ns, 1, most));
  return std::min(wanted, std::max<std::size_t>(1, last_chunk * 4));
}

}  // namespace troupe
