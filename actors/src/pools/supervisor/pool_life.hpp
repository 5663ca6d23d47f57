// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/workers/outcome_ledger.hpp"
#include "pools/workers/pool_state.hpp"
#include "pools/workers/worker_control.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace troupe::detail {

/// The pool's phase, which `pool_phase` draws: opens, closes, terminates and breaks the pool, and
/// finds out when it has ended.
///
/// Owns the reasons why a start failed or the pool broke.
///
/// @threads the supervisor's turn, all members.
class pool_life {
 public:
  pool_life(pool_state& state, outcome_ledger& ledger, worker_control& control)
      : state_{state}, ledger_{ledger}, control_{control} {}

  /// All workers are ready: tasks are sent from now on.
  void open();
  /// Takes no new work, and finishes what was submitted.
  void close();
  /// Cancels what waits, asks running tasks to stop, and ends the workers by the ladder.
  void terminate();
  /// As `terminate`, with SIGKILL at once.
  void kill();
  /// Too many workers died, or none can be started: fails all tasks with pool_broken.
  void break_pool(const std::string& why);
  /// A worker could not start while the pool starts: ends the pool; its constructor throws `why`.
  void abandon_start(std::shared_ptr<const failure> why);

  // The steps of an executor's shutdown.
  /// Cancels what no worker has begun.
  void cancel_waiting();
  /// Sets the stop token of each running task.
  void ask_all_to_stop();

  /// Fails a submission that came after the pool stopped taking work. False: the pool takes it.
  bool refuse(process_submission& work);
  /// At the end of each turn: ends the pool once it is closed and has neither tasks nor workers.
  void check_finished();
  [[nodiscard]] std::shared_ptr<const failure> start_failure() const { return start_failure_; }

 private:
  void take_back_from_all();
  void stop_workers();

  pool_state& state_;
  outcome_ledger& ledger_;
  worker_control& control_;
  std::shared_ptr<const failure> start_failure_;
  std::string broken_because_;
};

}  // namespace troupe::detail
