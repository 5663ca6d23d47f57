// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "scheduling/pool_size.hpp"

#include <atomic>

namespace troupe::detail {

/// How many workers a thread pool is to have. A member of the crew, guarded by its lock; `most` may
/// be read without.
class crew_size {
 public:
  crew_size(int least, int most) : wanted_{least, most}, most_{most} {}

  [[nodiscard]] int most() const noexcept { return most_.load(); }
  [[nodiscard]] int wanted() const noexcept { return wanted_.target(); }
  [[nodiscard]] int least() const noexcept { return wanted_.least(); }
  [[nodiscard]] bool may_shrink() const noexcept { return wanted_.may_shrink(); }
  void set(int workers) noexcept {
    wanted_.set(workers);
    most_ = workers;
  }
  void limit(int most) noexcept {
    wanted_.limit(most);
    most_ = most;
  }
  void grow() noexcept { wanted_.grow(1); }
  void shrink() noexcept { wanted_.shrink(); }

 private:
  pool_size wanted_;
  std::atomic<int> most_;
};

/// How many threads of a thread pool there are, and how far in their lives. A member of the crew,
/// guarded by its lock.
///
///   begun ──▶ initialized: ready ──▶ about to leave ──▶ has left ──▶ departed
///                   └─ its initializer threw ──┘
///
/// A relief counts as alive and as working only.
class crew_count {
 public:
  void begun(bool relief) noexcept {
    ++alive_;
    ++working_;
    staying_ += relief ? 0 : 1;
  }
  void initialized(bool ready) noexcept {
    ++initialized_;
    ready_ += ready ? 1 : 0;
  }
  /// `ready`: it was initialized, and its initializer did not throw.
  void is_leaving(bool ready) noexcept {
    --staying_;
    ready_ -= ready ? 1 : 0;
  }
  void left() noexcept { --working_; }
  void departed() noexcept { --alive_; }

  /// Threads that may still use the pool.
  [[nodiscard]] int alive() const noexcept { return alive_; }
  /// Of those: that have not begun to leave; that are not about to; that are initialized, too.
  [[nodiscard]] int working() const noexcept { return working_; }
  [[nodiscard]] int staying() const noexcept { return staying_; }
  [[nodiscard]] int ready() const noexcept { return ready_; }
  /// Workers whose initializers have ever returned.
  [[nodiscard]] int initialized() const noexcept { return initialized_; }
  /// One that is ready leaves, as there are more than wanted. The last one that is ready stays: one
  /// that is starting may fail.
  [[nodiscard]] bool are_too_many(int wanted) const noexcept {
    return staying_ > wanted && ready_ > 1;
  }

 private:
  int alive_ = 0;
  int working_ = 0;
  int staying_ = 0;
  int ready_ = 0;
  int initialized_ = 0;
};

}  // namespace troupe::detail
