// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/thread_safety.hpp"
#include "os/spin.hpp"

namespace troupe::detail {

/// Spins before it sleeps: the lock is held for less time than a system call takes.
class TROUPE_SCOPED_CAPABILITY patient_guard {
 public:
  explicit patient_guard(guarded_mutex& mutex) TROUPE_ACQUIRE(mutex) : mutex_{mutex} {
    constexpr int tries = 25;
    for (int i = 0; i < tries && spinning_helps(); ++i) {
      if (mutex.try_lock()) {
        return;
      }
      spin_watch::pause();
    }
    mutex.lock();
  }
  ~patient_guard() TROUPE_RELEASE() { mutex_.unlock(); }
  patient_guard(const patient_guard&) = delete;
  patient_guard& operator=(const patient_guard&) = delete;

 private:
  guarded_mutex& mutex_;
};

}  // namespace troupe::detail
