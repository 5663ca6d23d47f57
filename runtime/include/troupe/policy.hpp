// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>

// Decisions as pure functions of (policy, history, now), so that tests need no clock.
namespace troupe {

/// A moment of the clock that all decisions use; it is never set back.
using steady_time = std::chrono::steady_clock::time_point;

/// `now + wait`; the largest time point if that would overflow, as for the very long durations that
/// users write for "for ever".
[[nodiscard]] inline steady_time later(steady_time now, std::chrono::milliseconds wait) {
  return wait > std::chrono::hours{24 * 365 * 10} ? steady_time::max() : now + wait;
}

/// When workers that die are not replaced any more.
///
/// @follows OTP's supervisor: more than `intensity` restarts within `period`, and the supervisor
///   gives up. The default is higher than OTP's, because tasks of a pool may be expected to crash.
struct restart_policy {
  int intensity = 100;                           ///< deaths allowed within `period`
  std::chrono::milliseconds period{5'000};       ///< sliding, on the steady clock
  int start_attempts = 3;                        ///< failed starts in a row before giving up
  std::chrono::milliseconds backoff{10};         ///< after the second failed start; doubles
  std::chrono::milliseconds max_backoff{1'000};  ///< the longest that `backoff` becomes
};

/// The deaths and failed starts that still count for a restart_policy.
///
/// @threads one at a time.
class restart_history {
 public:
  /// A worker died; times do not decrease from call to call.
  void record_death(steady_time at) { deaths_.push_back(at); }
  /// A worker did not come up.
  void record_failed_start() { ++failed_starts_; }
  /// A worker came up: failed starts count anew.
  void record_start() { failed_starts_ = 0; }
  /// Failed starts in a row.
  [[nodiscard]] int failed_starts() const { return failed_starts_; }
  /// The number of deaths within `period` before `now`; forgets older ones.
  [[nodiscard]] int recent_deaths(std::chrono::milliseconds period, steady_time now) {
    while (!deaths_.empty() && now - deaths_.front() > period) {
      deaths_.pop_front();
    }
    return static_cast<int>(deaths_.size());
  }

 private:
  std::deque<steady_time> deaths_;
  int failed_starts_ = 0;
};

/// What to do about a dead worker.
struct restart_decision {
  bool give_up = false;                ///< no worker is started any more
  std::chrono::milliseconds delay{0};  ///< before the next start
};

/// What to do after a death or a failed start has been recorded.
[[nodiscard]] inline restart_decision decide(const restart_policy& policy, restart_history& history,
                                             steady_time now) {
  if (history.recent_deaths(policy.period, now) > policy.intensity ||
      history.failed_starts() >= policy.start_attempts) {
    return {true, {}};
  }
  if (history.failed_starts() <= 1) {
    return {false, std::chrono::milliseconds{0}};
  }
  const int doublings = std::min(history.failed_starts() - 2, 20);
  return {false, std::min(policy.max_backoff, policy.backoff * (1 << doublings))};
}

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
