// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/workers/pool_state.hpp"
#include "scheduling/attempts.hpp"
#include "scheduling/limits.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace troupe::detail {

/// Gives every item its one outcome, or another attempt.
///
/// Owns the attempts that are pending, the deadlines of submissions, and the list of maps that a
/// failure has cut.
///
/// @threads the supervisor's turn, all members.
class outcome_ledger {
 public:
  explicit outcome_ledger(pool_state& state) : state_{state} {}

  void settle_value(process_submission& work, std::uint32_t item, std::span<const std::byte> value);
  void settle_payload(process_submission& work, std::uint32_t item,
                      std::shared_ptr<const foreign_payload> value);
  /// The item failed and is not tried again.
  void settle_failure(process_submission& work, std::uint32_t item,
                      const std::shared_ptr<const failure>& why);
  /// An attempt at an item of `what` failed with `why`: plans a retry if the item may have one,
  /// settles the failure otherwise.
  void conclude(const task_range& what, std::uint32_t item, std::shared_ptr<const failure> why);

  // For items that are not in the queue, or leave it with this call.
  /// Fails all items without an outcome, of a submission that was never queued.
  void refuse(process_submission& work, errc code, std::string text);
  void fail_waiting(task_range& what, const std::shared_ptr<const failure>& why);
  /// Fails all items of a submission that are neither decided nor among `begun`. The queue drops
  /// its ranges of them when their turn comes.
  void fail_all_but(process_submission& work, const std::set<std::uint32_t>& begun,
                    const std::shared_ptr<const failure>& why);
  /// Fails everything that waits for a worker or between two attempts.
  void fail_all_waiting(errc code, std::string text);
  /// Cancels all items of a submission of which no worker has any and none is between two attempts.
  void cancel_waiting(process_submission& work);

  // Items between two attempts.
  /// The user's predicate has said whether item `number` gets another attempt.
  void answer_retry(std::uint64_t number, bool again);
  /// Puts the attempts that are due into the queue.
  void on_retry_timer();
  /// Fails those of one submission with `why`.
  void drop_retries(process_submission& work, const std::shared_ptr<const failure>& why);
  /// Cancels those behind the cut of a group.
  void cut_retries(const submission_group& group, const std::shared_ptr<const failure>& why);

  // Deadlines of submissions.
  void set_deadline(const std::shared_ptr<process_submission>& work);
  [[nodiscard]] std::optional<steady_time> next_deadline() const { return deadlines_.next(); }
  /// A submission whose deadline has passed, once; null: none has.
  std::shared_ptr<process_submission> take_overdue(steady_time now);

  /// Notes a map of which an item failed; `task_stopper::sweep` ends what lies behind its cut.
  void cut_off(std::shared_ptr<submission_group> group) { cut_.push_back(std::move(group)); }
  std::shared_ptr<submission_group> take_cut_off();

 private:
  /// An item between two attempts.
  struct pending_retry {
    task_range what;  // of one item, with its next attempt
    std::shared_ptr<const failure> last;
  };
  using waiting_attempts = attempts<process_submission, pending_retry>;

  void finish(process_submission& work);
  void schedule(std::uint64_t number);
  void try_again(pending_retry what);
  void drop(std::vector<pending_retry> dropped, const std::shared_ptr<const failure>& why);
  void count_failure(errc code, std::uint64_t items = 1);
  void watch_retries();

  pool_state& state_;
  waiting_attempts attempts_;
  limits<process_submission> deadlines_;
  std::vector<std::shared_ptr<submission_group>> cut_;
  steady_time retry_timer_ = steady_time::max();
};

}  // namespace troupe::detail
