// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/policy.hpp"
#include "troupe/restart_limits.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>

namespace troupe::detail {

/// What an end costs the supervisor's budget of restarts.
enum class charge : std::uint8_t {
  counts,   ///< one of `restart_limits::intensity`
  free,     ///< nothing, and the child is started at once
  forgiven  ///< nothing, and the child is started after the backoff
};

/// So many forgiven ends in a row, and the supervisor gives up as if they counted.
inline constexpr int max_forgiven_in_row = 10;

/// What is remembered of one child's ends in a row, those without a stable run between them.
struct restart_row {
  int ends = 0;           ///< that counted or were forgiven, failed starts included
  int forgiven = 0;       ///< the last ones of them, without one that counted
  int failed_starts = 0;  ///< since it was ready last
  bool operator==(const restart_row&) const = default;
};

/// Why a supervisor gives up.
enum class exhausted : std::uint8_t { nothing, intensity, start_attempts, forgiven };

/// What to do about an end.
struct restart_verdict {
  exhausted why = exhausted::nothing;  ///< else the supervisor gives up
  std::chrono::milliseconds delay{0};  ///< before the next start
  [[nodiscard]] bool give_up() const noexcept { return why != exhausted::nothing; }
};

/// Decides whether a child that ended may be started again, and when.
///
/// One budget belongs to a supervisor, or to a pool; each child has a `restart_row` of its own. Each
/// decision takes O(1) steps on the average, and remembers at most `intensity` + 1 times.
///
/// @threads one at a time; the caller guards it. Times do not decrease from call to call.
class restart_budget {
 public:
  /// @param seed  of the jitter: the same calls with the same seed have the same delays.
  restart_budget(const restart_limits& limits, std::uint64_t seed)
      : limits_{limits}, random_{seed} {
    // What users write for "for ever" overflows in nanoseconds.
    constexpr std::chrono::milliseconds most = std::chrono::hours{24 * 365 * 10};
    limits_.period = std::min(limits_.period, most);
    limits_.stable_after = std::min(limits_.stable_after, most);
  }

  /// A child ended that had been ready for `ran`.
  restart_verdict on_end(restart_row& row, charge what, std::chrono::nanoseconds ran,
                         steady_time now) {
    const bool stable = ran >= limits_.stable_after;
    if (stable) {
      row = {};
    }
    return judge(row, what, stable, now);
  }
  /// A child ended before it was ready.
  restart_verdict on_failed_start(restart_row& row, charge what, steady_time now) {
    if (what == charge::counts) {
      ++row.failed_starts;
    }
    restart_verdict made = judge(row, what, false, now);
    if (!made.give_up() && !limits_.forever && row.failed_starts >= limits_.start_attempts) {
      made.why = exhausted::start_attempts;
    }
    return made;
  }
  void on_ready(restart_row& row) noexcept { row.failed_starts = 0; }

  /// The ends that count now.
  [[nodiscard]] int counted(steady_time now) const {
    const auto first = std::find_if(times_.begin(), times_.end(),
                                    [&](steady_time at) { return now - at <= limits_.period; });
    return static_cast<int>(times_.end() - first);
  }
  [[nodiscard]] const restart_limits& limits() const noexcept { return limits_; }

 private:
  restart_verdict judge(restart_row& row, charge what, bool stable, steady_time now) {
    if (what == charge::free) {
      return {};
    }
    ++row.ends;
    if (what == charge::counts) {
      row.forgiven = 0;
      return {record(now) ? exhausted::nothing : exhausted::intensity, wait_after(row.ends - 1)};
    }
    row.forgiven += stable ? 0 : 1;
    const bool enough = row.forgiven >= max_forgiven_in_row && !limits_.forever;
    return {enough ? exhausted::forgiven : exhausted::nothing, wait_after(row.ends)};
  }
  /// Adds a time; false: there are more than allowed.
  bool record(steady_time now) {
    while (!times_.empty() && now - times_.front() > limits_.period) {
      times_.pop_front();
    }
    times_.push_back(now);
    const bool within = times_.size() <= static_cast<std::size_t>(limits_.intensity);
    if (!within && limits_.forever) {
      times_.pop_front();
    }
    return within || limits_.forever;
  }
  /// None before the first, then the backoff, which doubles. The jitter makes it shorter, never
  /// longer, so that `max_backoff` holds.
  std::chrono::milliseconds wait_after(int ends) {
    if (ends <= 0 || limits_.backoff.count() <= 0) {
      return {};
    }
    std::chrono::milliseconds wait = limits_.backoff;
    for (int i = 1; i < ends && wait < limits_.max_backoff; ++i) {
      wait = wait > limits_.max_backoff / 2 ? limits_.max_backoff : wait * 2;
    }
    wait = std::min(wait, limits_.max_backoff);
    const double less = limits_.jitter * next_random() * static_cast<double>(wait.count());
    return wait - std::chrono::milliseconds{static_cast<std::int64_t>(less)};
  }
  /// SplitMix64, from 0 to below 1: small, and the same on all machines.
  double next_random() noexcept {
    random_ += 0x9e3779b97f4a7c15U;
    std::uint64_t z = random_;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return static_cast<double>((z ^ (z >> 31U)) >> 11U) * 0x1.0p-53;
  }

  restart_limits limits_;
  std::uint64_t random_;
  std::deque<steady_time> times_;  // of ends that counted; what is too old may still be in front
};

}  // namespace troupe::detail
