// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/futex.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace troupe::detail {

/// A lock in shared memory that survives its holder: a robust pthread mutex and what is told of it.
struct lock_state {
  alignas(16) std::array<std::byte, 48> mutex;  ///< a pthread_mutex_t
  std::atomic<std::uint64_t> owner;             ///< PID namespace and thread of the holder, 0: none
  std::atomic<std::uint32_t> depth;             ///< of a recursive lock, beyond the first
  std::atomic<std::uint32_t> inherited;         ///< a holder died since the last `recovered()`
};
static_assert(sizeof(lock_state) == 64);

enum class lock_result : std::uint8_t {
  taken,
  inherited,  ///< taken, and the last holder died with it
  busy,       ///< not before the deadline
  own,        ///< this thread has it already
};

/// Makes a lock that is free.
///
/// @throws error{resource_exhausted}.
void init_lock(lock_state& lock);

/// Takes it if it is free.
[[nodiscard]] lock_result try_acquire(lock_state& lock);
/// Waits for it. Wakes up now and then to look: a wake-up spent on a dying thread costs a moment.
[[nodiscard]] lock_result acquire(lock_state& lock, const deadline& until = std::nullopt);
/// False: this thread does not have it.
[[nodiscard]] bool release(lock_state& lock) noexcept;
[[nodiscard]] bool owned_by_caller(const lock_state& lock) noexcept;

/// The deadline passed: what wait loops ask.
[[nodiscard]] inline bool is_over(const deadline& until) {
  return until && std::chrono::steady_clock::now() >= *until;
}

/// `wait(deadline)` returns whether it got what it waited for; this waits until `when` on a clock
/// that may be set while it does.
template <class Clock, class Duration, class Wait>
bool wait_on_clock(const std::chrono::time_point<Clock, Duration>& when, Wait wait) {
  for (;;) {
    const auto now = Clock::now();
    if (!(now < when)) {
      return wait(deadline{std::chrono::steady_clock::now()});
    }
    if (wait(deadline_after(when - now))) {
      return true;
    }
    if (Clock::is_steady) {
      return false;
    }
  }
}

}  // namespace troupe::detail
