// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/supervisor/dispatcher.hpp"
#include "pools/supervisor/fleet.hpp"
#include "pools/supervisor/task_stopper.hpp"

#include <cstdint>
#include <memory>
#include <span>

namespace troupe::detail {

/// Tasks of this pool that tasks of this pool submit, and wait for.
class nested_tasks {
 public:
  /// `last_number`: of the submissions of the pool.
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
  /// The worker has died: what its task waited for is cancelled.
  void on_death(worker_record& worker);
  /// Sends the outcomes that could not be sent yet.
  void send_outcomes(worker_record& worker);
  /// While tasks wait for a worker, those whose tasks wait for them do not count.
  void compensate();
  /// Tasks of tasks that wait for a worker fail if only tasks that wait for them could make room.
  void fail_stranded(const failure& why);

 private:
  class nested_group;

  void open_outcomes(worker_record& worker);
  std::shared_ptr<process_submission> decode(worker_record& worker, const frame_header& header,
                                             std::span<const std::byte> payload);
  void begin(worker_record& worker, std::uint64_t ticket,
             std::shared_ptr<process_submission> child);
  void on_done(std::uint64_t worker, std::uint64_t ticket, const process_submission& finished);
  void send_outcome(worker_record& worker, outcome_message message);

  pool_state& state_;
  outcome_ledger& ledger_;
  worker_control& control_;
  task_stopper& stopper_;
  fleet& fleet_;
  dispatcher& dispatcher_;
  std::uint64_t& last_number_;
  bool some_ended_ = false;  ///< parents, since the last `compensate`
};

}  // namespace troupe::detail
