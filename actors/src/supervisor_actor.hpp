// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/channel.hpp"
#include "troupe/policy.hpp"

#include "pool_core_impl.hpp"

#include <chrono>
#include <climits>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe::detail {

/// Consecutive items of a job that wait together.
struct slice {
  std::shared_ptr<job> work;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  std::uint32_t attempt = 1;
};

/// A slice that was sent: its items have the numbers number, number + 1, ...
struct sent_slice {
  slice what;
  std::uint64_t number = 0;
  std::uint32_t done = 0;  ///< items with an outcome, from the front
};

/// A worker's life:
///
///   starting ──ready──▶ ready ──limit reached──▶ retiring ──drained, replaced──▶ stopping ──▶
///   (gone)
///      │                  │ └────────────────────── pool closes ───────────────────┘
///      └──────────────────┴── dies ──▶ (gone, replaced)
enum class worker_phase : std::uint8_t { starting, ready, retiring, stopping };

/// Why the supervisor itself ends a worker's running task.
enum class doom : std::uint8_t { none, timeout, cancelled };

struct worker_record {
  std::uint64_t id = 0;
  std::int64_t pid = 0;
  worker_phase phase = worker_phase::starting;
  std::unique_ptr<supervisor_channel> channel;
  std::deque<sent_slice> sent;
  std::uint64_t next_number = 1;
  std::uint32_t outstanding = 0;  ///< items sent and without an outcome
  std::uint64_t assigned = 0;     ///< items sent in its life, those taken back not counted
  double mean_task_ns = 0;
  bool measured = false;
  bool greeted = false;  ///< its hello was right
  bool leaving = false;  ///< its channel ended or it was killed: nothing more goes there
  bool blocked = false;  ///< no room in its ring or its socket just now
  bool unblock_timer = false;
  bool bell_due = false;
  steady_time last_progress{};
  doom task_doom = doom::none;
  std::uint64_t doomed_number = 0;
  std::optional<steady_time> task_deadline;
  bool deadline_timer = false;
  std::shared_ptr<const failure> start_failure;
  bool ended_for_task = false;  ///< killed to end its task: no death that counts
  std::string kill_note;        ///< why the supervisor killed it, for the error text

  [[nodiscard]] bool usable() const { return phase == worker_phase::ready && !leaving; }
};

/// The supervisor of one pool: every decision about its tasks and workers is made here, one message
/// at a time, on whichever thread sent the message.
class supervisor {
 public:
  explicit supervisor(pool_core& core);
  ~supervisor();

  void handle(supervisor_message kind, std::uint64_t number, std::string& bytes);

  // Answers to questions.
  void start();
  void close();
  void terminate();
  bool cancel(job& which, bool force);
  void cancel_group(const std::shared_ptr<job_group>& group);
  [[nodiscard]] bool is_running(const job& which) const;
  [[nodiscard]] std::vector<worker_info> workers() const;
  [[nodiscard]] pool_stats stats() const;
  [[nodiscard]] std::shared_ptr<const failure> start_failure() const { return start_failure_; }

 private:
  enum class state : std::uint8_t { starting, open, closing, terminating, broken, finished };
  enum class timer : std::uint64_t {
    start_limit,
    task_limit,
    task_grace,
    worker_grace,
    relaunch,
    balance,
    unblock
  };
  struct timer_argument {
    std::uint64_t worker = 0;
    std::uint64_t number = 0;
  };

  // supervisor_actor.cpp: messages, and the pool's life
  void accept(std::uint64_t ticket, std::string& bytes);
  void on_timer(timer what, const timer_argument& argument);
  void set_timer(steady_time when, timer what) { set_timer(when, what, timer_argument{}); }
  void set_timer(steady_time when, timer what, timer_argument argument);
  void break_pool(const std::string& why);
  void abandon_start(std::shared_ptr<const failure> why);
  void check_finished();
  void finish_turn();

  // supervisor_workers.cpp: workers come, speak, and go
  void launch_worker();
  void maintain();
  void service(worker_record& worker);
  void on_frame(worker_record& worker, const frame_header& header,
                std::span<const std::byte> payload);
  void on_result(worker_record& worker, const frame_header& header,
                 std::span<const std::byte> payload);
  void on_begin(worker_record& worker, std::uint64_t number);
  void greet(worker_record& worker);
  void on_exit(std::uint64_t id, const exit_notice& notice);
  void on_start_failed(std::uint64_t id, int code);
  void settle_after_death(worker_record& worker, const exit_notice& notice);
  void failed_start(std::shared_ptr<const failure> why, bool transient);
  void forget_worker(std::uint64_t id);
  void condemn(worker_record& worker, std::string note);
  void stop_worker(worker_record& worker);
  void stop_workers();
  void retire_drained();
  [[nodiscard]] worker_record* find(std::uint64_t id);
  [[nodiscard]] failure loss_of(const worker_record& worker, const sent_slice& sent,
                                std::uint32_t item, const exit_notice& notice) const;

  // supervisor_dispatch.cpp: tasks find workers
  void enqueue(slice what);
  void enqueue_front(std::vector<slice> returned);
  slice* next_slice();
  worker_record* pick_worker();
  bool send(worker_record& worker, slice& what);
  bool announce_segments(worker_record& worker, const job& work, const char* begin,
                         const char* end);
  void dispatch();
  void take_back(worker_record& worker);
  void balance();
  void settle_value(job& work);
  void settle_failure(job& work, std::uint32_t item, const std::shared_ptr<const failure>& why);
  void fail_pending(job& work, errc code, const std::string& text);
  void fail_everything(errc code, const std::string& text);
  void sweep_group(const std::shared_ptr<job_group>& group);
  [[nodiscard]] bool work_left() const { return queued_ > 0 || outstanding_ > 0; }
  [[nodiscard]] std::chrono::milliseconds grace_of(const job& work) const;

  pool_core& core_;
  const pool_options& options_;
  start_method method_;
  state state_ = state::starting;
  std::map<std::uint64_t, std::unique_ptr<worker_record>> workers_;
  std::vector<worker_record*> ring_;  // the same, for picking
  std::size_t cursor_ = 0;
  std::vector<std::byte> configuration_;  // every worker's first frame
  restart_history history_;
  int starts_refused_ = 0;  // in a row, because the system was short of something
  std::optional<steady_time> relaunch_at_;
  std::map<int, std::deque<slice>, std::greater<>> queue_;
  int lowest_priority_ = INT_MAX;  // of all that came
  std::uint64_t queued_ = 0;       // items
  std::uint64_t outstanding_ = 0;  // items with workers
  std::vector<std::shared_ptr<job_group>> sweeps_;
  bool balance_timer_ = false;
  bool dispatch_due_ = false;
  std::shared_ptr<const failure> start_failure_;
  std::string broken_because_;
  pool_stats stats_;
  std::uint64_t next_job_ = 1;
};

/// Spawns the actor that owns `core`'s supervisor.
caf::actor spawn_supervisor(caf::actor_system& system, pool_core& core);

}  // namespace troupe::detail
