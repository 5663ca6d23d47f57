// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <mutex>

// A process that is forked while other threads run has copies of the locks that those threads held.
// Nothing unlocks them there, because only the forking thread was copied. So the globals that a
// forked child needs are guarded by a `fork_safe_mutex`. A global that is made at its first use is
// also used once before main (`made_before_main`), because a process that is forked during the
// first use would wait for the end of it for ever.
namespace troupe::detail {

/// A mutex of a process-wide object; it is never destroyed. Nothing else is locked under it.
class fork_safe_mutex {
 public:
  fork_safe_mutex();
  ~fork_safe_mutex() = default;  // never called
  fork_safe_mutex(const fork_safe_mutex&) = delete;
  fork_safe_mutex& operator=(const fork_safe_mutex&) = delete;

  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  friend class all_locked_for_fork;
  std::mutex mutex_;
  fork_safe_mutex* next_;
};

/// Holds all of them around a fork(), so that both processes have them free afterwards.
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
