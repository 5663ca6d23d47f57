// SPDX-License-Identifier: BSD-3-Clause
#include "pools/process/admission.hpp"

#include <chrono>
#include <utility>

namespace troupe::detail {

void admission::refuse_because(errc code, std::string text) {
  {
    const mutex_guard lock{mutex_};
    refusal_ = code;
    refusal_text_ = std::move(text);
    refuses_ = true;  // under the lock: a thread about to wait sees it, or is notified
    moved_.notify_all();
  }
  line_.call_next(UINT64_MAX);
}

void admission::check() {
  if (!refuses_.load(std::memory_order_acquire)) {
    return;
  }
  const mutex_guard lock{mutex_};
  if (refusal_ == errc::pool_broken) {
    throw pool_broken{refusal_text_};
  }
  throw pool_closed{refusal_text_};
}

bool admission::enter(std::uint32_t items, bool may_block, const deadline& until) {
  check();
  if (max_queued_ == 0 || enter_at_once(items)) {
    return true;
  }
  return may_block && wait_for_room(items, until);
}

bool admission::enter_at_once(std::uint32_t items) {
  if (shared_) {
    const mutex_guard lock{mutex_};
    bool call_line = false;
    return take_room(items, false, call_line);
  }
  for (std::uint64_t now = queued_.load(); detail::has_room(now, items, max_queued_);) {
    if (queued_.compare_exchange_weak(now, now + items)) {
      return true;
    }
  }
  return false;
}

/// `call_line`: set if it is the turn of those that wait without a thread.
bool admission::take_room(std::uint32_t items, bool collects, bool& call_line) {
  for (std::uint64_t now = queued_.load();;) {
    if (collects && share_.collect(now, single_ > 0)) {
      moved_.notify_all();
      call_line = true;
    }
    if (collects ? !share_.is_complete(now, items) : !share_.may_enter(now, items)) {
      return false;
    }
    // Threads that found the queue unshared a moment ago may enter, and others leave, without the
    // lock.
    if (queued_.compare_exchange_weak(now, now + items)) {
      if (!collects) {
        share_.entered();
        moved_.notify_all();
      }
      return true;
    }
  }
}

bool admission::wait_for_room(std::uint32_t items, const deadline& until) {
  bool collects = false;
  bool got_in = false;
  {
    mutex_lock lock{mutex_};
    blocked_.fetch_add(1);  // from here on `leave` notifies
    single_ += items == 1 ? 1 : 0;
    for (bool in_time = true; !refuses_;) {
      bool call_line = false;
      got_in = take_room(items, collects, call_line);
      if (got_in || !in_time) {
        break;
      }
      if (!collects && items > 1 && share_.begin(items)) {
        collects = shared_ = true;
        continue;
      }
      if (call_line) {
        lock.unlock();
        line_.call_next(1);
        lock.lock();
        continue;
      }
      if (until) {
        in_time = moved_.wait_until(lock, *until);
      } else {
        moved_.wait(lock);
      }
    }
    single_ -= items == 1 ? 1 : 0;
    blocked_.fetch_sub(1);
    if (collects) {
      share_.end();
      shared_ = false;
    }
    if (shared_ || collects) {
      moved_.notify_all();
    }
  }
  if (collects && has_room()) {
    line_.call_next(1);
  }
  if (!got_in) {
    check();
  }
  return got_in;
}

bool admission::has_room() {
  if (!shared_) {
    return queued_.load() < max_queued_ || refuses_;
  }
  const mutex_guard lock{mutex_};
  return refuses_ || share_.may_enter(queued_.load(), 1);
}

void admission::enter_anyway(std::uint64_t items) {
  if (max_queued_ != 0) {
    queued_.fetch_add(items);
  }
}

void admission::leave(std::uint64_t items) {
  if (max_queued_ == 0) {
    return;
  }
  queued_.fetch_sub(items);
  if (blocked_.load() != 0) {
    const mutex_guard lock{mutex_};
    moved_.notify_all();
  }
  if (!line_.empty()) {
    line_.call_next(items);
  }
}

}  // namespace troupe::detail
