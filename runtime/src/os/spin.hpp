// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>

namespace troupe::detail {

/// This process may use more than one CPU, so that what a spinning thread waits for can happen
/// meanwhile.
[[nodiscard]] bool spinning_helps() noexcept;

/// Bounds how long a thread looks again and again before it goes to sleep: being woken costs 5 to
/// 15 microseconds, more than many answers take.
class spin_watch {
 public:
  using clock = std::chrono::steady_clock;

  [[nodiscard]] bool worth_going_on() const { return clock::now() - begun_ < limit; }
  /// The wait was so short that spinning would have been the better way, or nearly.
  [[nodiscard]] bool was_short() const { return clock::now() - begun_ < 2 * limit; }
  static void pause() noexcept {
    for (int i = 0; i < 8; ++i) {
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    }
  }

 private:
  static constexpr std::chrono::microseconds limit{25};
  clock::time_point begun_ = clock::now();
};

}  // namespace troupe::detail
