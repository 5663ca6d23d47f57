// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/concluding_threads.hpp"

#include <algorithm>
#include <cstddef>

namespace troupe::detail {

void concluding_threads::add() {
  const mutex_guard lock{mutex_};
  threads_.push_back(std::this_thread::get_id());
}

void concluding_threads::remove() {
  const mutex_guard lock{mutex_};
  threads_.erase(std::find(threads_.begin(), threads_.end(), std::this_thread::get_id()));
  fewer_.notify_all();
}

bool concluding_threads::wait_for_others(const deadline& until) {
  mutex_lock lock{mutex_};
  // A pool may end in code that its own cancel runs, such as the destructor of an argument: then
  // the calling thread is itself cancelling, and must not wait for itself.
  const auto own = std::this_thread::get_id();
  const std::size_t times = std::erase(threads_, own);
  if (times > 0) {
    fewer_.notify_all();
  }
  bool in_time = true;
  while (!threads_.empty() && in_time) {
    if (until) {
      in_time = fewer_.wait_until(lock, *until);
    } else {
      fewer_.wait(lock);
    }
  }
  const bool none = threads_.empty();
  threads_.insert(threads_.end(), times, own);
  return none;
}

}  // namespace troupe::detail
