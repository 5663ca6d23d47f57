// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_safety.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace troupe::detail {

/// Holds a guarded_mutex, and can give it back and take it again meanwhile.
class TROUPE_SCOPED_CAPABILITY mutex_lock {
 public:
  explicit mutex_lock(guarded_mutex& mutex) TROUPE_ACQUIRE(mutex) : lock_{mutex.mutex_} {}
  mutex_lock(guarded_mutex& mutex, std::defer_lock_t later) TROUPE_EXCLUDES(mutex)
      : lock_{mutex.mutex_, later} {}
  ~mutex_lock() TROUPE_RELEASE() {}
  mutex_lock(const mutex_lock&) = delete;
  mutex_lock& operator=(const mutex_lock&) = delete;

  void lock() TROUPE_ACQUIRE() { lock_.lock(); }
  bool try_lock() TROUPE_TRY_ACQUIRE(true) { return lock_.try_lock(); }
  void unlock() TROUPE_RELEASE() { lock_.unlock(); }
  [[nodiscard]] bool owns_lock() const noexcept { return lock_.owns_lock(); }

 private:
  friend class guarded_condition;
  std::unique_lock<std::mutex> lock_;
};

/// A std::condition_variable for guarded_mutex. The caller looks in a loop whether what it waits
/// for is so: a predicate would be a function of its own, of which the analysis does not know what
/// it holds.
class guarded_condition {
 public:
  void wait(mutex_lock& lock) { condition_.wait(lock.lock_); }
  /// False: it is that late now.
  bool wait_until(mutex_lock& lock, std::chrono::steady_clock::time_point until) {
    return condition_.wait_until(lock.lock_, until) == std::cv_status::no_timeout;
  }
  void notify_one() noexcept { condition_.notify_one(); }
  void notify_all() noexcept { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace troupe::detail
