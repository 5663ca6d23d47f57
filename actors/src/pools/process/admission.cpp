// SPDX-License-Identifier: BSD-3-Clause
#include "pools/process/admission.hpp"

#include "scheduling/room.hpp"

#include <chrono>
#include <utility>

namespace troupe::detail {

void admission::refuse_because(errc code, std::string text) {
  {
    const mutex_guard lock{mutex_};
    refusal_ = code;
    refusal_text_ = std::move(text);
  }
  refuses_ = true;
  moved_.fetch_add(1);
  futex_wake_all(moved_);
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
  if (max_queued_ == 0) {
    return true;
  }
  for (;;) {
    const std::uint32_t moved = moved_.load();
    std::uint64_t now = queued_.load();
    if (detail::has_room(now, items, max_queued_)) {
      if (queued_.compare_exchange_weak(now, now + items)) {
        return true;
      }
      continue;
    }
    if (!may_block || (until && *until <= std::chrono::steady_clock::now())) {
      return false;
    }
    blocked_.fetch_add(1);
    if (queued_.load() == now && !refuses_) {
      futex_wait(moved_, moved, until);
    }
    blocked_.fetch_sub(1);
    check();
  }
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
    moved_.fetch_add(1);
    futex_wake_all(moved_);
  }
  if (!line_.empty()) {
    line_.call_next(items);
  }
}

}  // namespace troupe::detail
