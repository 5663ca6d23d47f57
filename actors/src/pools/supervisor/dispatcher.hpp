// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/workers/outcome_ledger.hpp"
#include "pools/workers/pool_state.hpp"
#include "pools/workers/worker_control.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace troupe::detail {

/// Which task goes to which worker, and when; and what waits behind a slow task goes elsewhere.
class dispatcher {
 public:
  /// `task_limit`: tasks that a worker may have in its life.
  dispatcher(pool_state& state, outcome_ledger& ledger, worker_control& control,
             std::uint64_t task_limit)
      : state_{state}, ledger_{ledger}, control_{control}, task_limit_{task_limit} {}

  /// Sends what waits to those that have room.
  void send_waiting();
  /// If some have nothing to do and others have something waiting, looks again in a moment.
  void watch_balance();
  void on_balance_timer();
  /// Something arrived: what could not be sent may go.
  void unblock(worker_record& worker);

  [[nodiscard]] bool has_room(const worker_record& worker) const;
  /// Is it worth trying again what could not be sent? Not for ever.
  bool may_go_later(int code);
  /// Descriptors could be sent.
  void end_shortage() noexcept { short_since_.reset(); }

 private:
  bool send_own();
  bool send(worker_record& worker, task_range& what);
  [[nodiscard]] std::uint32_t items_for(const worker_record& worker, const task_range& what) const;
  /// The first item of `what` fails: what it refers to cannot be handed over.
  void refuse(const worker_record& worker, task_range& what, int code);

  pool_state& state_;
  outcome_ledger& ledger_;
  worker_control& control_;
  const std::uint64_t task_limit_;
  std::optional<steady_time> short_since_;  // as many descriptors as may be are on their way
  /// Single items that were refused in this dispatch: they leave their queues first.
  std::vector<std::pair<task_range, std::shared_ptr<const failure>>> refused_;
  steady_time turn_begun_{};  // of the last dispatch that had workers with tasks
  bool balance_timer_ = false;
};

}  // namespace troupe::detail
