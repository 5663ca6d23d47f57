// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/worker_bell.hpp"

#include <utility>

namespace troupe::detail {

void worker_bell::wake() noexcept {
  flag_.wake();
  // The worker's thread stores true in `set_poke`, then looks at the flag a last time, then sleeps
  // in its loop. So a thread that reads false here has set the flag before that look.
  if (has_poke_.load()) {
    const mutex_guard lock{mutex_};
    if (poke_) {
      poke_();
    }
  }
}

void worker_bell::set_poke(std::function<void()> poke) {
  const mutex_guard lock{mutex_};
  poke_ = std::move(poke);
  has_poke_ = poke_ != nullptr;
}

}  // namespace troupe::detail
