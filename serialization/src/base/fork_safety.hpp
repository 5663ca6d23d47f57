// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_safety.hpp"

#include <mutex>

// A process that is forked while other threads run has copies of the locks that those threads held.
// Nothing unlocks them there, because only the forking thread was copied. So the globals that a
// forked child needs are guarded by a `fork_safe_mutex`. A global that is made at its first use is
// also used once before main (`made_before_main`), because a process that is forked during the
// first use would wait for the end of it for ever.
namespace troupe::detail {

/// A mutex of a process-wide object; it is never destroyed. Nothing else is locked under it.
class TROUPE_CAPABILITY("mutex") fork_safe_mutex {
 public:
  fork_safe_mutex();
  ~fork_safe_mutex() = default;  // never called
  fork_safe_mutex(const fork_safe_mutex&) = delete;
  fork_safe_mutex& operator=(const fork_safe_mutex&) = delete;

  void lock() TROUPE_ACQUIRE() { mutex_.lock(); }
  void unlock() TROUPE_RELEASE() { mutex_.unlock(); }

 private:
  friend class all_locked_for_fork;
  std::mutex mutex_;
  fork_safe_mutex* next_;
};

/// Holds a fork_safe_mutex as long as it lives.
class TROUPE_SCOPED_CAPABILITY fork_safe_guard {
 public:
  explicit fork_safe_guard(fork_safe_mutex& mutex) TROUPE_ACQUIRE(mutex) : mutex_{mutex} {
    mutex.lock();
  }
  ~fork_safe_guard() TROUPE_RELEASE() { mutex_.unlock(); }
  fork_safe_guard(const fork_safe_guard&) = delete;
  fork_safe_guard& operator=(const fork_safe_guard&) = delete;

 private:
  fork_safe_mutex& mutex_;
};

/// Holds all of them around a fork(), so that both processes have them free afterwards. The
/// analysis does not know that: which mutexes there are is known at run time.
class all_locked_for_fork {
 public:
  all_locked_for_fork();
  ~all_locked_for_fork();
  all_locked_for_fork(const all_locked_for_fork&) = delete;
  all_locked_for_fork& operator=(const all_locked_for_fork&) = delete;

 private:
  fork_safe_mutex* first_;
};

}  // namespace troupe::detail
