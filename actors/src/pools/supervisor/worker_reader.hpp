// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/supervisor/dispatcher.hpp"
#include "pools/supervisor/fleet.hpp"
#include "pools/supervisor/nested_tasks.hpp"
#include "pools/supervisor/task_stopper.hpp"
#include "pools/workers/outcome_ledger.hpp"

#include <cstdint>
#include <memory>
#include <span>

namespace troupe::detail {

/// Reads the frames of workers: hello, ready, begun, progress, results, submissions of tasks.
///
/// All of it is untrusted: a frame that breaks the protocol ends its worker, never the program.
///
/// @threads the supervisor's turn, all members.
class worker_reader {
 public:
  worker_reader(pool_state& state, outcome_ledger& ledger, worker_control& control,
                task_stopper& stopper, fleet& workers, dispatcher& sender, nested_tasks& nested)
      : state_{state},
        ledger_{ledger},
        control_{control},
        stopper_{stopper},
        fleet_{workers},
        dispatcher_{sender},
        nested_{nested} {}

  /// Reads the frames that have arrived; after some rounds the rest is left to a later turn.
  void service(worker_record& worker);

 private:
  void greet(worker_record& worker);
  void read_frames(worker_record& worker);
  void on_frame(worker_record& worker, const frame_header& header,
                std::span<const std::byte> payload);
  void on_init_failed(worker_record& worker, std::span<const std::byte> payload);
  void on_began(worker_record& worker, std::uint64_t number);
  void on_progress(worker_record& worker, std::uint64_t number, std::span<const std::byte> payload);
  void on_result(worker_record& worker, const frame_header& header,
                 std::span<const std::byte> payload);
  /// Decodes the failure in a result frame; null: it cannot be decoded, and the worker is ended.
  static std::shared_ptr<failure> read_failure(worker_record& worker,
                                               const process_submission& work,
                                               std::span<const std::byte> bytes);
  sent_range* find_sent(worker_record& worker, std::uint64_t number) const;
  void on_closed(worker_record& worker);

  pool_state& state_;
  outcome_ledger& ledger_;
  worker_control& control_;
  task_stopper& stopper_;
  fleet& fleet_;
  dispatcher& dispatcher_;
  nested_tasks& nested_;
};

}  // namespace troupe::detail
