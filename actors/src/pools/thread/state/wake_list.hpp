// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/thread/state/worker_bell.hpp"

#include <memory>
#include <utility>
#include <vector>

namespace troupe::detail {

/// The workers that a thread is going to wake. They are woken when the list is destroyed: who makes
/// it before taking the lock wakes them without the lock.
class wake_list {
 public:
  using bell = std::shared_ptr<worker_bell>;

  wake_list() = default;
  wake_list(const wake_list&) = delete;
  wake_list& operator=(const wake_list&) = delete;
  ~wake_list() {
    if (first_) {
      first_->wake();
    }
    for (const bell& each : others_) {
      each->wake();
    }
  }

  void add(bell one) {
    if (first_) {
      others_.push_back(std::move(one));
    } else {
      first_ = std::move(one);
    }
  }

 private:
  bell first_;  // mostly the only one: no allocation for it
  std::vector<bell> others_;
};

}  // namespace troupe::detail
