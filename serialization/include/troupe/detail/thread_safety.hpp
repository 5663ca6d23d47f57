// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <mutex>

// Clang's thread-safety analysis: each member names the mutex that guards it, each function the
// mutexes that its caller holds, and `-Wthread-safety` refuses every access without the lock. For
// other compilers the macros are empty. https://clang.llvm.org/docs/ThreadSafetyAnalysis.html
#if defined(__clang__)
#define TROUPE_THREAD_SAFETY(attribute) __attribute__((attribute))
#else
#define TROUPE_THREAD_SAFETY(attribute)
#endif

/// A type that can be held: a mutex, or a rule of its own ("one thread at a time").
#define TROUPE_CAPABILITY(kind) TROUPE_THREAD_SAFETY(capability(kind))
/// A type whose objects hold a capability while they live.
#define TROUPE_SCOPED_CAPABILITY TROUPE_THREAD_SAFETY(scoped_lockable)
/// A member that is read and written with this mutex held.
#define TROUPE_GUARDED_BY(mutex) TROUPE_THREAD_SAFETY(guarded_by(mutex))
/// A pointer whose target is read and written with this mutex held.
#define TROUPE_PT_GUARDED_BY(mutex) TROUPE_THREAD_SAFETY(pt_guarded_by(mutex))
/// A function whose caller holds these.
#define TROUPE_REQUIRES(...) TROUPE_THREAD_SAFETY(requires_capability(__VA_ARGS__))
/// A function that takes these and returns with them; without arguments, the object itself.
#define TROUPE_ACQUIRE(...) TROUPE_THREAD_SAFETY(acquire_capability(__VA_ARGS__))
/// A function that gives these back; without arguments, the object itself.
#define TROUPE_RELEASE(...) TROUPE_THREAD_SAFETY(release_capability(__VA_ARGS__))
/// A function that has taken the mutex if it returns the first argument.
#define TROUPE_TRY_ACQUIRE(...) TROUPE_THREAD_SAFETY(try_acquire_capability(__VA_ARGS__))
/// A function whose caller does not hold these.
#define TROUPE_EXCLUDES(...) TROUPE_THREAD_SAFETY(locks_excluded(__VA_ARGS__))
/// From the call of this function on, these are taken to be held.
#define TROUPE_ASSERT_HELD(...) TROUPE_THREAD_SAFETY(assert_capability(__VA_ARGS__))
/// A function that returns a reference to this mutex.
#define TROUPE_RETURNS(mutex) TROUPE_THREAD_SAFETY(lock_returned(mutex))
/// For a function that is right in a way the analysis cannot see; a comment says in which.
#define TROUPE_NO_THREAD_SAFETY_ANALYSIS TROUPE_THREAD_SAFETY(no_thread_safety_analysis)

namespace troupe::detail {

/// A std::mutex that the analysis knows; troupe::mutex is another thing, shared by processes.
class TROUPE_CAPABILITY("mutex") guarded_mutex {
 public:
  guarded_mutex() = default;
  guarded_mutex(const guarded_mutex&) = delete;
  guarded_mutex& operator=(const guarded_mutex&) = delete;

  void lock() TROUPE_ACQUIRE() { mutex_.lock(); }
  bool try_lock() TROUPE_TRY_ACQUIRE(true) { return mutex_.try_lock(); }
  void unlock() TROUPE_RELEASE() { mutex_.unlock(); }
  /// For a function literal, which the analysis reads as if nothing were held. Does nothing.
  void assert_held() const noexcept TROUPE_ASSERT_HELD() {}

 private:
  friend class mutex_lock;
  std::mutex mutex_;
};

/// Holds a guarded_mutex as long as it lives.
class TROUPE_SCOPED_CAPABILITY mutex_guard {
 public:
  explicit mutex_guard(guarded_mutex& mutex) TROUPE_ACQUIRE(mutex) : mutex_{mutex} { mutex.lock(); }
  ~mutex_guard() TROUPE_RELEASE() { mutex_.unlock(); }
  mutex_guard(const mutex_guard&) = delete;
  mutex_guard& operator=(const mutex_guard&) = delete;

 private:
  guarded_mutex& mutex_;
};

}  // namespace troupe::detail
