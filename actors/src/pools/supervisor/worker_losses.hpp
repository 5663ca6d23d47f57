// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/supervisor/nested_tasks.hpp"
#include "pools/supervisor/worker_reader.hpp"

#include <cstdint>
#include <memory>
#include <optional>

namespace troupe::detail {

/// Workers that end, or never begin: what they had begun gets its outcome, the rest goes elsewhere,
/// and the worker is replaced.
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
  /// Settles what it had. True: its death counts for the limit of restarts.
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
