// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/workers/outcome_ledger.hpp"
#include "pools/workers/pool_state.hpp"
#include "pools/workers/worker_control.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace troupe::detail {

/// A pool from its start to its end; pool_phase draws it.
class pool_life {
 public:
  pool_life(pool_state& state, outcome_ledger& ledger, worker_control& control)
      : state_{state}, ledger_{ledger}, control_{control} {}

  /// All workers are there.
  void open();
  /// No new work; what there is finishes.
  void close();
  /// Drops what waits, asks what runs to stop, and ends workers by the ladder.
  void terminate();
  /// The same without a grace time.
  void kill();
  /// Too many workers died, or none can be started.
  void break_pool(const std::string& why);
  /// A worker did not come up while the pool starts.
  void abandon_start(std::shared_ptr<const failure> why);

  // The steps of an executor's shutdown.
  void cancel_waiting();
  void ask_all_to_stop();

  /// A submission that came when no more are taken fails. False: they are.
  bool refuse(process_submission& work);
  /// At the end of each turn: whether the pool's end has come.
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
