// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <functional>

namespace troupe::detail {

/// The time of the coroutines that the calling thread runs, where it is not the machine's: a test
/// sets it.
class coroutine_clock {
 public:
  coroutine_clock() = default;
  coroutine_clock(const coroutine_clock&) = delete;
  coroutine_clock& operator=(const coroutine_clock&) = delete;
  virtual ~coroutine_clock() = default;

  /// Calls `function` when so much time has passed.
  virtual void call_after(std::chrono::nanoseconds time, std::function<void()> function) const = 0;
  /// The calling thread's; null: coroutines have Asio's timers.
  static const coroutine_clock*& here() noexcept;
};

}  // namespace troupe::detail
