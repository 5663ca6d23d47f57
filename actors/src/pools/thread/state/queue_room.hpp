// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/engine.hpp"

#include "base/thread_safety.hpp"
#include "futures/waiting_line.hpp"
#include "scheduling/room.hpp"

#include <atomic>
#include <cstdint>

namespace troupe::detail {

/// Lets submissions into the queue of a thread pool while it has room, and has the others wait: some
/// with their threads, some in a line. A member of the scheduler, guarded by its lock, but for
/// `is_awaited` and `call_line`, which any thread may call. `queued`: items in the queue now.
class queue_room {
 public:
  /// `max_queued`: items of the queue; 0: no bound.
  explicit queue_room(std::uint64_t max_queued) noexcept : share_{max_queued} {}

  /// A submission of so many items takes its room. False: there is none.
  bool take(std::uint64_t queued, std::uint64_t items) {
    if (!share_.may_enter(queued, items)) {
      return false;
    }
    if (share_.is_collected()) {
      share_.entered();
      changed_.notify_all();
    }
    return true;
  }
  /// The first of the line is worth calling.
  [[nodiscard]] bool may_enter_one(std::uint64_t queued) const noexcept {
    return share_.may_enter(queued, 1);
  }

  /// A submission that waits for its room with its thread, as long as this lives.
  class waiter {
   public:
    waiter(queue_room& room, std::uint64_t items);
    ~waiter();
    waiter(const waiter&) = delete;
    waiter& operator=(const waiter&) = delete;

    /// As `queue_room::take`; it may take part of its room only.
    bool take(std::uint64_t queued);
    /// Returns when it is worth trying again. False: the deadline passed first.
    ///
    /// @blocks until then, without the lock.
    bool wait(mutex_lock& lock, const deadline& until);

   private:
    queue_room& room_;
    const std::uint64_t items_;
    bool collects_ = false;  // it takes free places until it has all that it needs
  };

  /// So many items left the queue.
  void left(std::uint64_t items) {
    if (is_awaited()) {
      changed_.notify_all();
    }
    call_line(items);
  }
  /// Wakes the threads that wait: all look again.
  void notify() noexcept { changed_.notify_all(); }
  void closed();

  /// Threads wait: who takes items out of the queue takes the lock and notifies them. Seen by the
  /// thread that has taken them out, or the one that is about to wait sees that they are gone.
  [[nodiscard]] bool is_awaited() const noexcept { return blocked_.load() != 0; }
  void call_line(std::uint64_t items) noexcept {
    if (!line_.empty()) {
      line_.call_next(items);  // a called submission tries on the thread of callbacks
    }
  }
  /// Has its own lock.
  [[nodiscard]] waiting_line& line() noexcept { return line_; }

 private:
  std::atomic<int> blocked_{0};  // threads that wait
  int single_ = 0;               // of these, those with a submission of one item
  guarded_condition changed_;    // the queue got shorter, it is another's turn, the pool closed
  waiting_line line_;            // submissions that wait without a thread
  room_share share_;
};

}  // namespace troupe::detail
