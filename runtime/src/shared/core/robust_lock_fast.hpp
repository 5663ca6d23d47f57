// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/robust_lock.hpp"

#include "os/process_identity.hpp"

#include <pthread.h>

// The way through a lock that no other thread wants, short enough to be inline.
namespace troupe::detail {

static_assert(sizeof(pthread_mutex_t) <= sizeof(lock_state::mutex));

[[nodiscard]] inline pthread_mutex_t* mutex_of(lock_state& lock) noexcept {
  return reinterpret_cast<pthread_mutex_t*>(lock.mutex.data());
}

[[nodiscard]] lock_result slow_result(lock_state& lock, int code);

inline void mark_taken(lock_state& lock) noexcept {
  // The mutex orders what it guards. ThreadSanitizer does not know pthread_mutex_clocklock, so it
  // is shown the same order by this word; pairs with release_owned.
  static_cast<void>(lock.owner.load(std::memory_order_acquire));
  lock.owner.store(own_thread(), std::memory_order_relaxed);
}

[[nodiscard]] inline lock_result try_acquire_fast(lock_state& lock) {
  const int code = ::pthread_mutex_trylock(mutex_of(lock));
  if (code != 0) [[unlikely]] {
    return slow_result(lock, code);
  }
  mark_taken(lock);
  return lock_result::taken;
}

[[nodiscard]] inline bool owned_by_caller_fast(const lock_state& lock) noexcept {
  return lock.owner.load(std::memory_order_relaxed) == own_thread();
}

/// The caller has it.
inline void release_owned(lock_state& lock) noexcept {
  // Pairs with mark_taken.
  lock.owner.store(0, std::memory_order_release);
  ::pthread_mutex_unlock(mutex_of(lock));
}

}  // namespace troupe::detail
