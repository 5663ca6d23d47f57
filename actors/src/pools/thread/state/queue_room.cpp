// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/queue_room.hpp"

namespace troupe::detail {

void queue_room::closed() {
  changed_.notify_all();
  line_.call_next(UINT64_MAX);
}

queue_room::waiter::waiter(queue_room& room, std::uint64_t items) : room_{room}, items_{items} {
  room_.blocked_.fetch_add(1);  // from here on what leaves the queue notifies
  room_.single_ += items_ == 1 ? 1 : 0;
}

queue_room::waiter::~waiter() {
  room_.single_ -= items_ == 1 ? 1 : 0;
  room_.blocked_.fetch_sub(1);
  if (collects_) {
    room_.share_.end();
  }
  if (collects_ || room_.share_.is_collected()) {
    room_.changed_.notify_all();
  }
  if (collects_) {
    room_.line_.call_next(1);
  }
}

bool queue_room::waiter::take(std::uint64_t queued) {
  if (!collects_) {
    return room_.take(queued, items_);
  }
  if (room_.share_.collect(queued, room_.single_ > 0)) {
    room_.changed_.notify_all();
    room_.line_.call_next(1);
  }
  return room_.share_.is_complete(queued, items_);
}

bool queue_room::waiter::wait(mutex_lock& lock, const deadline& until) {
  if (!collects_ && items_ > 1 && room_.share_.begin(items_)) {
    collects_ = true;
    return true;
  }
  if (until) {
    return room_.changed_.wait_until(lock, *until);
  }
  room_.changed_.wait(lock);
  return true;
}

}  // namespace troupe::detail
