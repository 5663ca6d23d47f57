// SPDX-License-Identifier: BSD-3-Clause
#include "base/fork_safety.hpp"

#include <atomic>

namespace troupe::detail {
namespace {

/// The mutex that was made last; each points to the one that was made before it.
constinit std::atomic<fork_safe_mutex*> newest{nullptr};

}  // namespace

fork_safe_mutex::fork_safe_mutex() : next_{newest.load()} {
  while (!newest.compare_exchange_weak(next_, this)) {
  }
}

all_locked_for_fork::all_locked_for_fork() : first_{newest.load()} {
  for (fork_safe_mutex* one = first_; one != nullptr; one = one->next_) {
    one->mutex_.lock();
  }
}

all_locked_for_fork::~all_locked_for_fork() {
  for (fork_safe_mutex* one = first_; one != nullptr; one = one->next_) {
    one->mutex_.unlock();
  }
}

}  // namespace troupe::detail
