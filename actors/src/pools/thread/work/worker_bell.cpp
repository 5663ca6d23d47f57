// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/work/worker_bell.hpp"

#include <utility>

namespace troupe::detail {

void worker_bell::wake() noexcept {
  flag_.wake();
  // `set_poke` stores true before its thread looks at the flag for the last time before it sleeps
  // in its loop: a thread that finds false here has rung early enough for that look.
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
