// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/workers/outcome_ledger.hpp"
#include "pools/workers/pool_state.hpp"
#include "pools/workers/worker_control.hpp"
#include "scheduling/limits.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace troupe::detail {

/// Ends tasks before they end themselves, whether they wait, are sent, or run: by cancel, timeout,
/// deadline, and the failure of an earlier item of their map.
///
/// Owns the limits of begun tasks. A task that ignores its stop request is ended with its worker,
/// after its grace time.
///
/// @threads the supervisor's turn, all members.
class task_stopper {
 public:
  task_stopper(pool_state& state, outcome_ledger& ledger, worker_control& control)
      : state_{state}, ledger_{ledger}, control_{control} {}

  /// True: the submission will never run. `force`: a running task is ended after its grace time.
  bool cancel(process_submission& which, bool force);
  /// Cancels the items of a map that lie behind its cut, and asks those that run to stop.
  void sweep(const std::shared_ptr<submission_group>& group);

  /// The pool has taken a submission: sets its deadline, if it has one.
  void accept(const std::shared_ptr<process_submission>& work);
  /// A worker has begun task `number`: sets its timeout, if it has one.
  void on_begin(worker_record& worker, std::uint64_t number, const process_submission& work);
  /// Task `number` has an outcome: drops its limits and stop requests.
  void on_end(worker_record& worker, std::uint64_t number);
  /// Drops the limits of all tasks of a worker that has ended.
  void on_death(worker_record& worker);
  /// Carries out the limits that are due.
  void on_timer();

 private:
  using begun_limits = limits<begun_task>;

  void stop(worker_record& worker, std::uint64_t number, stop_reason why,
            std::chrono::milliseconds grace);
  void on_limit(const begun_limits::due& reached);
  void expire(const std::shared_ptr<process_submission>& work);
  const std::shared_ptr<begun_task>& limited(worker_record& worker, std::uint64_t number);
  void watch_limits();

  pool_state& state_;
  outcome_ledger& ledger_;
  worker_control& control_;
  begun_limits limits_;
  steady_time timer_ = steady_time::max();
};

}  // namespace troupe::detail
