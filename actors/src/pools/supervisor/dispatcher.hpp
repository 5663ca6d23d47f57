// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/workers/outcome_ledger.hpp"
#include "pools/workers/pool_state.hpp"
#include "pools/workers/worker_control.hpp"
#include "scheduling/pool_size.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace troupe::detail {

/// Sends waiting tasks to workers: it decides which task goes to which worker and when, and takes
/// tasks back that wait behind a slow one while another worker is idle.
///
/// Refers to the pool's state, ledger, control and size; owns only notes on descriptors that could
/// not be sent.
///
/// @threads the supervisor's turn, all members.
class dispatcher {
 public:
  dispatcher(pool_state& state, outcome_ledger& ledger, worker_control& control,
             const pool_size& size)
      : state_{state}, ledger_{ledger}, control_{control}, size_{size} {}

  /// Sends waiting tasks until none is left or no worker has room.
  void send_waiting();
  /// If a worker has tasks that it has not begun, while another one is idle or the pool may grow,
  /// sets the timer after which these are taken back.
  void watch_balance(bool may_grow);
  /// Takes tasks back from behind slow ones, if a worker is still idle or the pool may still grow.
  void on_balance_timer(bool may_grow);
  /// A frame of the worker arrived, so the worker has read since: tries again what it had no room
  /// for.
  void unblock(worker_record& worker);

  [[nodiscard]] bool has_room(const worker_record& worker) const;
  /// The next task for any worker that may begin now; null: none waits, or those that wait could
  /// become parents, of which there are enough (`pool_size::may_begin`).
  task_range* next();
  /// As many workers run tasks that do not wait for tasks as may (`pool_size::may_run`); the extra
  /// ones are for what is waited for. As of the last dispatch.
  [[nodiscard]] bool enough_run() const;
  /// After a frame was not sent, with errno `code`: true if the frame is to be tried again. False
  /// for errors that do not pass, and once descriptors have been short for too long.
  bool may_go_later(int code);
  /// A descriptor was sent: there is no shortage.
  void end_shortage() noexcept { short_since_.reset(); }

 private:
  void count_running();
  /// What waits behind a long task could run elsewhere: on an idle worker, or on one more.
  [[nodiscard]] bool has_others(bool may_grow) const;
  /// The worker that takes `what`, which any may; null: none has room.
  worker_record* worker_for(const task_range& what);
  bool send_own();
  bool send(worker_record& worker, task_range& what);
  [[nodiscard]] std::uint32_t items_for(const worker_record& worker, const task_range& what) const;
  /// Fails the first item of `what`: a descriptor or segment that it needs cannot be sent.
  void refuse(const worker_record& worker, task_range& what, int code);

  pool_state& state_;
  outcome_ledger& ledger_;
  worker_control& control_;
  const pool_size& size_;
  std::optional<steady_time> short_since_;  // the kernel refuses to send descriptors
  /// Items that were refused in this dispatch; they fail after they have left their queues.
  std::vector<std::pair<task_range, std::shared_ptr<const failure>>> refused_;
  /// Usable workers that have tasks and no task that waits for tasks; nothing: no extra ones exist.
  std::optional<int> running_;
  steady_time turn_begun_{};  // the last dispatch in which a worker had tasks
  bool balance_timer_ = false;
};

}  // namespace troupe::detail
