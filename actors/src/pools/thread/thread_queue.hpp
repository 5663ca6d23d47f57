// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"

#include "pools/thread/queue_count.hpp"
#include "pools/thread/state/task_lanes.hpp"
#include "pools/thread/state/worker_table.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace troupe::detail {

/// What waits in a thread pool: in the lanes of all workers, or in the seat of the one worker that
/// may run it. Counts it, and publishes how urgent the first of each is.
///
/// A member of the scheduler, guarded by its lock, but for `overtakes`, which any thread may call.
class thread_queue {
 public:
  /// `count`: where this counts what is pushed and claimed.
  explicit thread_queue(queue_count& count) noexcept : count_{count} {}

  /// True: something that this worker may run has a higher priority than that.
  [[nodiscard]] bool overtakes(int priority, const worker_seat& self) const noexcept {
    return std::max(urgency_.load(std::memory_order_relaxed),
                    self.urgency.load(std::memory_order_relaxed)) > priority;
  }

  // All that is pushed: returns the only worker that may run it; null: any may.
  /// Numbers a new submission, and adds it.
  worker_seat* push_new(std::shared_ptr<thread_submission> submission, worker_table& workers);
  /// Adds an item whose retry is due.
  worker_seat* push_retry(claimed_items item, worker_table& workers);
  /// The same for what was in a seat, counted and numbered.
  worker_seat* push(std::shared_ptr<thread_submission> submission, worker_table& workers);
  worker_seat* push_again(claimed_items item, worker_table& workers);

  /// Claims what this worker is to run next. False: nothing. The caller destroys `released` without
  /// the lock.
  bool claim_next(worker_seat& self, claimed_items& into, released_submissions& released);
  /// Claims of this submission, wherever it waits. False: nothing of it waits.
  bool claim_from(const std::shared_ptr<thread_submission>& wanted, claimed_items& into);

  /// Nothing waits that any worker may run.
  [[nodiscard]] bool lanes_are_empty() const noexcept { return lanes_.empty(); }
  /// The first of what any worker may run; null: nothing.
  [[nodiscard]] std::shared_ptr<thread_submission> front() const { return lanes_.front(); }
  /// Any worker may begin an item of it.
  [[nodiscard]] bool can_begin(const thread_submission& one) const {
    return one.unclaimed() > 0 || lanes_.has_again(one);
  }
  /// So may this one, to which it is bound.
  [[nodiscard]] static bool can_begin_in(const worker_seat& seat, const thread_submission& one) {
    return one.unclaimed() > 0 || seat.own.has_again(one);
  }

  /// A submission was cancelled. Those leave the queue when they are most of what waits there, so
  /// that they need not be looked for.
  void note_cancelled(const worker_table& workers, released_submissions& released);
  task_lanes::contents take_all(const worker_table& workers);

 private:
  static void note_first(std::atomic<int>& urgency, const task_lanes& lanes) noexcept;
  static void raise(std::atomic<int>& urgency, int priority) noexcept;

  queue_count& count_;
  task_lanes lanes_;
  std::size_t cancelled_ = 0;                   // submissions since the queue was swept
  std::atomic<int> urgency_{task_lanes::none};  // the priority of the first in `lanes_`
};

}  // namespace troupe::detail
