// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/robust_lock.hpp"

#include "troupe/error.hpp"

#include "os/adaptive_spin.hpp"
#include "os/process_identity.hpp"
#include "os/sys.hpp"
#include "shared/core/crash_step.hpp"
#include "shared/core/proxy.hpp"
#include "shared/core/robust_lock_fast.hpp"

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

/// A waiting thread looks this often whether the lock is free after all: the kernel hands a robust
/// mutex on when its holder dies, but a wake-up may be spent on a waiter that dies at that moment.
constexpr auto slice = 50ms;

lock_result taken_from_the_dead(lock_state& lock) {
  crash_step();
  lock.depth.store(0, std::memory_order_relaxed);
  mark_taken(lock);
  lock.inherited.store(1, std::memory_order_relaxed);
  crash_step();
  // At once: a thread that dies before it calls this leaves a mutex that no thread can ever take.
  ::pthread_mutex_consistent(mutex_of(lock));
  crash_step();
  return lock_result::inherited;
}

[[noreturn]] void fail_lock(int code) {
  sys::fail(
      code == ENOTRECOVERABLE || code == EINVAL ? errc::protocol_error : errc::resource_exhausted,
      "the lock of a shared object does not work", code);
}

constinit thread_local adaptive_spin spin;

}  // namespace

lock_result slow_result(lock_state& lock, int code) {
  switch (code) {
    case EOWNERDEAD:
      return taken_from_the_dead(lock);
    case EBUSY:
    case ETIMEDOUT:
      return owned_by_caller(lock) ? lock_result::own : lock_result::busy;
    default:
      fail_lock(code);
  }
}

void init_lock(lock_state& lock) {
  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  // Not ERRORCHECK: the C library compares thread ids, and in another PID namespace another thread
  // has the same. `owner` knows better.
  ::pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_NORMAL);
  const int code = ::pthread_mutex_init(mutex_of(lock), &attributes);
  ::pthread_mutexattr_destroy(&attributes);
  if (code != 0) {
    sys::fail(errc::resource_exhausted, "cannot make a lock in shared memory", code);
  }
}

bool owned_by_caller(const lock_state& lock) noexcept {
  return owned_by_caller_fast(lock);
}

lock_result try_acquire(lock_state& lock) {
  return try_acquire_fast(lock);
}

lock_result acquire(lock_state& lock, const deadline& until) {
  lock_result result = try_acquire(lock);
  if (result != lock_result::busy || is_over(until)) {
    return result;
  }
  // Most holders are about to leave: waking up again would take longer than their work.
  const bool came = spin([&] {
    if (lock.owner.load(std::memory_order_relaxed) != 0) {
      return false;
    }
    result = try_acquire_fast(lock);
    return result != lock_result::busy;
  });
  if (came) {
    return result;
  }
  for (;;) {
    auto end = std::chrono::steady_clock::now() + slice;
    if (until) {
      end = std::min(end, *until);
    }
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(end.time_since_epoch());
    timespec absolute{};
    absolute.tv_sec = static_cast<time_t>(ns.count() / 1'000'000'000);
    absolute.tv_nsec = static_cast<long>(ns.count() % 1'000'000'000);
    const int code = ::pthread_mutex_clocklock(mutex_of(lock), CLOCK_MONOTONIC, &absolute);
    if (code == 0) {
      mark_taken(lock);
      return lock_result::taken;
    }
    if (code != ETIMEDOUT) {
      return slow_result(lock, code);
    }
    leave_if_dismissed();
    if (is_over(until)) {
      return lock_result::busy;
    }
  }
}

bool release(lock_state& lock) noexcept {
  if (!owned_by_caller(lock)) {
    return false;
  }
  release_owned(lock);
  return true;
}

}  // namespace troupe::detail
