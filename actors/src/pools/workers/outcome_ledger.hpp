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

/// What becomes of tasks: every item gets its one outcome here, or another attempt.
class outcome_ledger {
 public:
  explicit outcome_ledger(pool_state& state) : state_{state} {}

  void settle_value(process_submission& work, std::uint32_t item, std::span<const std::byte> value);
  void settle_payload(process_submission& work, std::uint32_t item,
                      std::shared_ptr<const foreign_payload> value);
  /// The item failed and is not tried again.
  void settle_failure(process_submission& work, std::uint32_t item,
                      const std::shared_ptr<const failure>& why);
  /// An attempt at an item of `what` failed: it is tried again, or that is its outcome.
  void conclude(const task_range& what, std::uint32_t item, std::shared_ptr<const failure> why);

  // All of these items have left the queue, or go with it.
  /// All that has no outcome yet, of a submission that never waited.
  void refuse(process_submission& work, errc code, std::string text);
  void fail_waiting(task_range& what, const std::shared_ptr<const failure>& why);
  /// All of a submission that waits for a worker: what is not decided, and not among `begun`. What
  /// is left of it in the queue is over, and goes when its turn comes.
  void fail_all_but(process_submission& work, const std::set<std::uint32_t>& begun,
                    const std::shared_ptr<const failure>& why);
  /// Everything that waits for a worker or between two attempts.
  void fail_all_waiting(errc code, std::string text);
  /// Nothing of it is with a worker or between two attempts: what waits is cancelled.
  void cancel_waiting(process_submission& work);

  // Between two attempts.
  void answer_retry(std::uint64_t number, bool again);
  void on_retry_timer();
  /// Those of one submission fail with `why`.
  void drop_retries(process_submission& work, const std::shared_ptr<const failure>& why);
  /// Those of a group that are cut off are cancelled.
  void cut_retries(const submission_group& group, const std::shared_ptr<const failure>& why);

  // Deadlines of submissions.
  void set_deadline(const std::shared_ptr<process_submission>& work);
  [[nodiscard]] std::optional<steady_time> next_deadline() const { return deadlines_.next(); }
  /// A submission whose deadline has passed, once; null: none has.
  std::shared_ptr<process_submission> take_overdue(steady_time now);

  /// Maps of which an item failed: what comes behind it is to be cut off.
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
