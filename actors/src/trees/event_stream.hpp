// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"
#include "troupe/supervisor_event.hpp"

#include "base/thread_safety.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

namespace troupe::detail {

/// The events that a subscriber has not read yet, the newest ones.
class event_stream {
 public:
  explicit event_stream(std::size_t capacity) : capacity_{capacity} {}

  /// Drops the oldest one if there is no room.
  void put(const supervisor_event& event);
  /// No event comes any more.
  void end();
  /// The oldest event; nothing: there was none until then, or there will be none.
  std::optional<supervisor_event> take(const deadline& until);
  [[nodiscard]] bool ended() const;

 private:
  const std::size_t capacity_;
  mutable guarded_mutex mutex_;
  guarded_condition changed_;
  std::deque<supervisor_event> events_ TROUPE_GUARDED_BY(mutex_);
  std::uint64_t lost_ TROUPE_GUARDED_BY(mutex_) = 0;  // before the first one of them
  bool ended_ TROUPE_GUARDED_BY(mutex_) = false;
};

}  // namespace troupe::detail
