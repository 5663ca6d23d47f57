// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "os/spin.hpp"

#include <algorithm>

namespace troupe::detail {

/// Spins before a thread sleeps. After a spin in vain it skips one, then three, and so on, because
/// on a busy machine the thread that it waits for needs the CPU that it would spin on.
///
/// One for each thread and purpose.
class adaptive_spin {
 public:
  /// Whether `came()` was true before it was time to sleep.
  template <class Condition>
  bool operator()(Condition came) {
    if (!spinning_helps()) {
      return false;
    }
    if (skip_ != 0) {
      --skip_;
      return false;
    }
    for (const spin_watch watch; watch.worth_going_on();) {
      spin_watch::pause();
      if (came()) {
        penalty_ = 0;
        return true;
      }
    }
    penalty_ = std::min(2 * penalty_ + 1, 255U);
    skip_ = penalty_;
    return false;
  }

 private:
  unsigned skip_ = 0;
  unsigned penalty_ = 0;
};

}  // namespace troupe::detail
