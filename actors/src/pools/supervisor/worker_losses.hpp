// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/supervisor/nested_tasks.hpp"
#include "pools/supervisor/worker_reader.hpp"

#include <cstdint>
#include <memory>
#include <optional>

namespace troupe::detail {

/// Handles the end of a worker, and a start that failed: what the worker had begun gets an outcome
/// or another attempt, what it had not begun goes back to the queue, and the fleet replaces it.
///
/// Reads the worker's channel to its end first: what the worker published before it died counts.
///
/// @threads the supervisor's turn, all members.
class worker_losses {
 public:
  worker_losses(pool_state& state, outcome_ledger& ledger, worker_control& control,
                task_stopper& stopper, fleet& workers, nested_tasks& nested, worker_reader& reader)
      : state_{state},
        ledger_{ledger},
        control_{control},
        stopper_{stopper},
        fleet_{workers},
        nested_{nested},
        reader_{reader} {}

  void on_exit(std::uint64_t id, const exit_notice& notice);
  void on_start_failed(std::uint64_t id, int code);

 private:
  /// Decides about all tasks that the worker had. True: its death counts for the limit of
  /// restarts.
  bool settle(worker_record& worker, const exit_notice& notice);
  void lose(const worker_record& worker, sent_range sent, const exit_notice& notice);

  pool_state& state_;
  outcome_ledger& ledger_;
  worker_control& control_;
  task_stopper& stopper_;
  fleet& fleet_;
  nested_tasks& nested_;
  worker_reader& reader_;
};

}  // namespace troupe::detail
