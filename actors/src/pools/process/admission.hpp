// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"

#include "base/thread_safety.hpp"
#include "futures/waiting_line.hpp"
#include "scheduling/room.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace troupe::detail {

/// Decides which submissions enter a pool of processes: none once `refuse_because` was called, and
/// not more items than the queue may have. Owns the line of submissions that wait for room.
///
/// @threads any, all members.
class admission {
 public:
  /// `max_queued`: items; 0: no bound.
  explicit admission(std::size_t max_queued) : max_queued_{max_queued}, share_{max_queued} {}

  /// From now on each submission throws this error. Wakes all that wait for room.
  void refuse_because(errc code, std::string text);
  [[nodiscard]] bool refuses() const noexcept { return refuses_; }
  /// @throws the error that `refuse_because` was given, if it was called.
  void check();

  /// Enters so many items into the queue. False: it is full and the caller may not block, or it was
  /// full until the deadline.
  ///
  /// @blocks while the queue is full, if `may_block`.
  /// @throws what `check` throws.
  bool enter(std::uint32_t items, bool may_block, const deadline& until);
  /// So many items have left the queue: wakes submissions that wait for room.
  void leave(std::uint64_t items);
  /// Enters so many items without regard to the bound: those that come back from workers, and those
  /// of nested tasks.
  void enter_anyway(std::uint64_t items);

  /// The submissions that wait for room without a thread.
  [[nodiscard]] waiting_line& line() noexcept { return line_; }
  /// True: an attempt to submit would not wait for room.
  [[nodiscard]] bool has_room();

 private:
  bool enter_at_once(std::uint32_t items);
  bool take_room(std::uint32_t items, bool collects, bool& call_line) TROUPE_REQUIRES(mutex_);
  bool wait_for_room(std::uint32_t items, const deadline& until);

  const std::size_t max_queued_;
  std::atomic<bool> refuses_{false};
  guarded_mutex mutex_;
  errc refusal_ TROUPE_GUARDED_BY(mutex_) = errc::ok;
  std::string refusal_text_ TROUPE_GUARDED_BY(mutex_);
  std::atomic<std::uint64_t> queued_{0};
  std::atomic<std::uint32_t> blocked_{0};  // threads in `wait_for_room`
  std::atomic<bool> shared_{false};        // a submission collects its places
  room_share share_ TROUPE_GUARDED_BY(mutex_);
  int single_ TROUPE_GUARDED_BY(mutex_) = 0;  // threads that wait for room for one item
  guarded_condition moved_;                   // the queue got shorter, or it is another's turn
  // One is called for each task that left the queue; if it does not submit, the next is called.
  waiting_line line_;
};

}  // namespace troupe::detail
