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

/// What ends tasks from outside, wherever they are: cancelling, a timeout, a deadline, and the
/// failure of another item of their map.
class task_stopper {
 public:
  task_stopper(pool_state& state, outcome_ledger& ledger, worker_control& control)
      : state_{state}, ledger_{ledger}, control_{control} {}

  /// True: it will never run.
  bool cancel(process_submission& which, bool force);
  /// What the cut of its map cuts off.
  void sweep(const std::shared_ptr<submission_group>& group);

  /// Its deadline begins, if it has one.
  void accept(const std::shared_ptr<process_submission>& work);
  /// A worker has begun a task, whose timeout begins, if it has one.
  void on_begin(worker_record& worker, std::uint64_t number, const process_submission& work);
  /// It has ended: nothing of it is to be ended any more.
  void on_end(worker_record& worker, std::uint64_t number);
  /// The worker has.
  void on_death(worker_record& worker);
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
