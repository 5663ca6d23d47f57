// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/policy.hpp"

#include <algorithm>
#include <chrono>
#include <optional>

namespace troupe::detail {

/// Decides whether something that has to give a sign of life at least every `limit` has missed it.
///
/// Looks several times within the limit, so that a clock that stands still while the program is
/// stopped (`pause_meter`) loses little: a stop that no look has seen costs a quarter of the limit.
///
/// @threads one at a time. Times do not decrease from call to call.
class watchdog {
 public:
  explicit watchdog(std::chrono::milliseconds limit) : limit_{limit} {}

  /// From now on signs are expected.
  void begin(steady_time now) noexcept {
    last_ = now;
    seen_ = now;
  }
  void beat(steady_time now) noexcept {
    if (last_) {
      last_ = now;
    }
  }
  void end() noexcept { last_.reset(); }
  /// True, once: the time is over. Nothing is expected then until `begin`.
  [[nodiscard]] bool missed(steady_time now) noexcept {
    seen_ = now;
    if (!last_ || now < later(*last_, limit_)) {
      return false;
    }
    last_.reset();
    return true;
  }
  /// When to ask `missed` next.
  [[nodiscard]] std::optional<steady_time> next_time() const noexcept {
    if (!last_) {
      return std::nullopt;
    }
    const auto part = std::max(limit_ / 4, std::chrono::milliseconds{1});
    return std::min(later(*last_, limit_), later(seen_, part));
  }

 private:
  std::chrono::milliseconds limit_;
  std::optional<steady_time> last_;  // the last sign, or the begin
  steady_time seen_{};               // the last look
};

}  // namespace troupe::detail
