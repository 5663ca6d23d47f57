// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/supervisor/dispatcher.hpp"
#include "pools/supervisor/fleet.hpp"
#include "pools/supervisor/task_stopper.hpp"

#include <cstdint>
#include <memory>
#include <span>

namespace troupe::detail {

/// Tasks that tasks of the pool submit to it: their submission, the way of their outcomes to the
/// worker that waits for them, and the extra workers that they need.
///
/// The submissions belong to the record of the worker whose task made them; its death cancels those
/// that have not begun.
///
/// @threads the supervisor's turn, all members.
class nested_tasks {
 public:
  /// `last_number`: the number of the pool's latest submission, which this raises.
  nested_tasks(pool_state& state, outcome_ledger& ledger, worker_control& control,
               task_stopper& stopper, fleet& workers, dispatcher& sender,
               std::uint64_t& last_number)
      : state_{state},
        ledger_{ledger},
        control_{control},
        stopper_{stopper},
        fleet_{workers},
        dispatcher_{sender},
        last_number_{last_number} {}

  /// A `submit` frame of a worker.
  void on_submit(worker_record& worker, const frame_header& header,
                 std::span<const std::byte> payload);
  /// Cancels what the dead worker's task had submitted and no worker has begun.
  void on_death(worker_record& worker);
  /// Sends the worker those outcomes that its socket had no room for.
  void send_outcomes(worker_record& worker);
  /// While tasks wait for a worker, lets the fleet start one more worker for each one whose task
  /// waits for tasks of its own.
  void compensate();
  /// Fails the waiting tasks of tasks with `why` if all workers run tasks that wait for such tasks:
  /// no worker would become free for them.
  void fail_stranded(const failure& why);

 private:
  class nested_group;

  void open_outcomes(worker_record& worker);
  std::shared_ptr<process_submission> decode(worker_record& worker, const frame_header& header,
                                             std::span<const std::byte> payload);
  void begin(worker_record& worker, std::uint64_t ticket,
             std::shared_ptr<process_submission> child);
  void on_done(std::uint64_t worker, std::uint64_t ticket, const process_submission& finished);
  /// The worker's task waits for tasks no more, or is dead.
  void end_parent(const worker_record& worker);
  void send_outcome(worker_record& worker, outcome_message message);

  pool_state& state_;
  outcome_ledger& ledger_;
  worker_control& control_;
  task_stopper& stopper_;
  fleet& fleet_;
  dispatcher& dispatcher_;
  std::uint64_t& last_number_;
};

}  // namespace troupe::detail
