// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"

#include <atomic>
#include <cstdint>
#include <optional>

namespace troupe::detail {

using deadline = std::optional<std::chrono::steady_clock::time_point>;  ///< nullopt: wait for ever

/// Sleeps while `word` holds `expected`; may return early for no reason. False: the deadline
/// passed. std::atomic::wait has no deadline, hence this. `shared`: the word lies in memory that
/// several processes map.
bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                const deadline& until, bool shared = false) noexcept;

/// Wakes all threads that sleep on `word`.
void futex_wake_all(const std::atomic<std::uint32_t>& word, bool shared = false) noexcept;

/// A thread's way to be woken by another that is about to sleep itself.
///
/// A futex wake lets the kernel pick an idle CPU, and on many machines waking that up costs more
/// than the whole round trip; a pipe's writer says that it is done, so its reader continues on the
/// same CPU.
class handover {
 public:
  /// The one of the calling thread; made at the first call. Null if it was destroyed already,
  /// because the thread is ending; if there were no descriptors left; or in a forked child, which
  /// has copies of the descriptors of threads that it does not have. The caller then waits on a
  /// futex.
  static handover* of_this_thread();
  handover() noexcept;
  ~handover();
  handover(const handover&) = delete;
  handover& operator=(const handover&) = delete;

  /// What `signal` takes.
  [[nodiscard]] int address() const noexcept { return write_; }
  /// Sleeps until a byte comes; each signal sends one. The caller looks whether what it waits for
  /// has happened: the byte may be another one. False: there is no pipe any more, because something
  /// closed what it does not own; this thread never gets another one.
  [[nodiscard]] bool wait() noexcept;
  static void signal(int address) noexcept;

 private:
  int read_ = -1;
  int write_ = -1;
  std::uint32_t forks_ = 0;  ///< the fork_generation of where it was made
};

/// `now + duration`, without overflow for the very long durations users write for "for ever".
template <class Rep, class Period>
deadline deadline_after(std::chrono::duration<Rep, Period> duration) {
  using clock = std::chrono::steady_clock;
  const auto now = clock::now();
  // Compared in floating point: casting hours::max() or hours::min() to nanoseconds would overflow.
  if (std::chrono::duration<double>{duration} > std::chrono::hours{24 * 365 * 10}) {
    return std::nullopt;
  }
  if (!(duration > duration.zero())) {
    return now;
  }
  return now + std::chrono::ceil<clock::duration>(duration);
}

}  // namespace troupe::detail
