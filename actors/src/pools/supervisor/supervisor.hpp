// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/submission/supervisor_message.hpp"
#include "pools/supervisor/dispatcher.hpp"
#include "pools/supervisor/fleet.hpp"
#include "pools/supervisor/nested_tasks.hpp"
#include "pools/supervisor/pool_life.hpp"
#include "pools/supervisor/task_stopper.hpp"
#include "pools/supervisor/worker_losses.hpp"
#include "pools/supervisor/worker_reader.hpp"
#include "pools/workers/outcome_ledger.hpp"
#include "pools/workers/pool_state.hpp"
#include "pools/workers/worker_control.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace troupe::detail {

/// A call that a thread wants made on the supervisor's turn; it owns this and waits until then.
struct question {
  static constexpr std::uint32_t no = 0;
  static constexpr std::uint32_t waited_for = 1;  ///< no, and the asking thread sleeps on the word
  static constexpr std::uint32_t yes = 2;
  static constexpr std::uint32_t never = 3;  ///< the supervisor is gone

  std::function<void(supervisor&)> answer;
  std::atomic<std::uint32_t> answered{no};
};

/// The supervisor of one pool of processes: takes one message at a time and passes it to the part
/// that decides about it.
///
/// Owns the parts and the state that they share. `mailbox` runs it on the thread that sends, one
/// thread at a time (the supervisor's turn), so nothing here has a lock, and no handler blocks.
///
///   worker_reader ─▶ outcome_ledger (values, failures, attempts)     worker_losses (deaths)
///   dispatcher ─▶ task_queue, workers                                fleet (how many workers)
///   task_stopper (cancel, timeout, deadline)                         nested_tasks
///   pool_life (open, closing, broken, ...)                           worker_control (signals)
class supervisor {
 public:
  explicit supervisor(pool_face& pool);
  ~supervisor();
  supervisor(const supervisor&) = delete;
  supervisor& operator=(const supervisor&) = delete;

  void handle(supervisor_message& what);

  // For the functions that `pool_face::ask` runs.
  void start() { fleet_.start(); }
  void close() { life_.close(); }
  void terminate() { life_.terminate(); }
  void kill() { life_.kill(); }
  void cancel_waiting() { life_.cancel_waiting(); }
  void ask_all_to_stop() { life_.ask_all_to_stop(); }
  void resize(int workers) { fleet_.resize(workers); }
  /// True: the submission will never run. `force`: a running task is ended after its grace time.
  bool cancel(process_submission& which, bool force) { return stopper_.cancel(which, force); }
  /// Cancels all submissions of a map.
  void cancel_group(const std::shared_ptr<submission_group>& group);
  /// How many items of a map workers have now.
  [[nodiscard]] std::uint64_t with_workers(const submission_group& group) const;
  /// How many items no worker has begun; not those between two attempts.
  [[nodiscard]] std::uint64_t not_begun() const;
  [[nodiscard]] bool is_running(const process_submission& which) const;
  [[nodiscard]] std::vector<worker_info> workers() const;
  [[nodiscard]] std::shared_ptr<const failure> start_failure() const {
    return life_.start_failure();
  }
  /// How many worker processes there are, in any phase.
  [[nodiscard]] std::uint64_t processes() const { return state_.workers.size(); }
  /// How many workers the supervisor has sent SIGKILL.
  [[nodiscard]] std::uint64_t killed() const { return control_.killed(); }

 private:
  void on(run_task& message);
  void on(ask_supervisor& message);
  void on(const channel_ready& message);
  void on(const worker_started& message);
  void on(const start_failed& message);
  void on(const worker_exited& message);
  void on(look_for_results message);
  void on(const retry_answered& message);
  void on(const time_passed& message);
  void on_worker_timer(worker_record& worker, timer what);
  /// Reads the results that have arrived from workers.
  void read_results();
  void dispatch();
  void finish_turn();

  pool_state state_;
  std::uint64_t last_number_ = 0;  // of the latest submission
  outcome_ledger ledger_;
  worker_control control_;
  task_stopper stopper_;
  pool_life life_;
  fleet fleet_;
  dispatcher dispatcher_;
  nested_tasks nested_;
  worker_reader reader_;
  worker_losses losses_;
};

}  // namespace troupe::detail
