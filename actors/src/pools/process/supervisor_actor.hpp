// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/policy.hpp"

#include "channel/channel.hpp"
#include "pools/process/nested_outcome.hpp"
#include "pools/process/pool_core_impl.hpp"

#include <chrono>
#include <climits>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {

/// Consecutive items of a submission that wait together.
struct task_range {
  std::shared_ptr<process_submission> work;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  std::uint32_t attempt = 1;
  std::uint32_t forgiven = 0;  ///< attempts that cost no retry: a neighbour's fault ended them
};

/// A range that was sent: its items have the numbers number, number + 1, ...
///
/// Several coroutines of a worker end in any order: one that is not the first or the last is left
/// in its place, without its submission, until it is.
struct sent_range {
  task_range what;
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
enum class stop_reason : std::uint8_t { timeout, overdue, cancelled };

/// Why a worker that did nothing wrong goes.
enum class retirement : std::uint8_t { none, tasks, age, memory, surplus };

/// A task between two attempts: its retry is being decided, or is not due yet.
struct pending_retry {
  task_range what;  // of one item, with its next attempt's number
  std::shared_ptr<const failure> last;
};

struct worker_record {
  std::uint64_t id = 0;
  std::int64_t pid = 0;
  worker_phase phase = worker_phase::starting;
  std::unique_ptr<supervisor_channel> channel;
  std::deque<sent_range> sent;
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
  // Of begun tasks, by number; most have none of these.
  std::map<std::uint64_t, stop_reason> stop_reasons;
  std::map<std::uint64_t, steady_time> deadlines;
  steady_time deadline_timer = steady_time::max();  ///< when the first of its timers fires
  std::set<std::uint64_t> stops;                    ///< asked to end
  std::deque<std::uint64_t> stops_due;  ///< those of them whose frames found no room yet
  std::uint64_t ended_for = 0;          ///< killed to end this task: no death that counts
  std::shared_ptr<const failure> start_failure;
  std::string kill_note;  ///< why the supervisor killed it, for the error text
  retirement retiring_for = retirement::none;
  steady_time memory_checked{};
  // Tasks of its own that the task it runs has submitted: supervisor_nested.cpp.
  std::map<std::uint64_t, std::shared_ptr<process_submission>> children;  // by ticket
  std::shared_ptr<const attachment> outcomes;                             // the socket for them
  std::deque<outcome_message> outcomes_due;
  /// Waiting for this worker, because their affinity keys are bound to it.
  std::deque<task_range> own;

  /// Counts towards the size of the pool.
  [[nodiscard]] bool staying() const { return phase == worker_phase::starting || usable(); }
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
  bool cancel(process_submission& which, bool force);
  void resize(int workers);
  void cancel_group(const std::shared_ptr<submission_group>& group);
  /// Items of a map that are with workers now.
  [[nodiscard]] std::uint64_t with_workers(const submission_group& group) const;
  [[nodiscard]] bool is_running(const process_submission& which) const;
  [[nodiscard]] std::vector<worker_info> workers() const;
  [[nodiscard]] std::shared_ptr<const failure> start_failure() const { return start_failure_; }
  // supervisor_shutdown.cpp
  void cancel_waiting();
  void ask_all_to_stop();
  void kill_all();
  [[nodiscard]] std::uint64_t processes() const;
  [[nodiscard]] std::uint64_t killed() const { return killed_; }

 private:
  enum class state : std::uint8_t { starting, open, closing, terminating, broken, finished };
  enum class timer : std::uint64_t {
    start_limit,
    task_limit,
    task_grace,
    worker_grace,
    relaunch,
    balance,
    unblock,
    idle,
    age,
    due,
    retry
  };
  struct timer_argument {
    std::uint64_t worker = 0;
    std::uint64_t number = 0;
  };

  // supervisor_actor.cpp: messages, and the pool's life
  void accept(std::uint64_t ticket, std::string& bytes);
  void on_timer(timer what, const timer_argument& argument);
  void on_worker_timer(worker_record& of, timer what, std::uint64_t number);
  void set_timer(steady_time when, timer what) { set_timer(when, what, timer_argument{}); }
  void set_timer(steady_time when, timer what, timer_argument argument);
  void break_pool(const std::string& why);
  void abandon_start(std::shared_ptr<const failure> why);
  void check_finished();
  void finish_turn();

  // supervisor_workers.cpp: workers come and go
  void launch_worker();
  void on_exit(std::uint64_t id, const exit_notice& notice);
  void on_start_failed(std::uint64_t id, int code);
  void settle_after_death(worker_record& worker, const exit_notice& notice, bool counts);
  void failed_start(std::shared_ptr<const failure> why, bool transient);
  void forget_worker(std::uint64_t id);
  void kill_worker(worker_record& worker, std::string note);
  void stop_worker(worker_record& worker);
  void stop_workers();
  [[nodiscard]] worker_record* find(std::uint64_t id);

  // supervisor_frames.cpp: what workers say
  void service(worker_record& worker);
  void on_frame(worker_record& worker, const frame_header& header,
                std::span<const std::byte> payload);
  void on_result(worker_record& worker, const frame_header& header,
                 std::span<const std::byte> payload);
  void on_begin(worker_record& worker, std::uint64_t number);
  void on_progress(worker_record& worker, std::uint64_t number, std::span<const std::byte> payload);
  [[nodiscard]] sent_range* find_sent(worker_record& worker, std::uint64_t number) const;
  static void finish_item(worker_record& worker, sent_range& sent);
  void greet(worker_record& worker);

  // supervisor_losses.cpp: what is told of a worker's death
  [[nodiscard]] failure loss_of(const worker_record& worker, const sent_range& sent,
                                std::uint32_t item, const exit_notice& notice) const;
  static attempt_end end_of_attempt(const failure& loss);
  [[nodiscard]] std::shared_ptr<const failure> end_of_start(
      std::int64_t pid, const exit_notice& notice, std::optional<crash_report> crash) const;

  // supervisor_sizing.cpp: how many workers, and which go
  void maintain();
  void retire_drained();
  void retire(worker_record& worker, retirement why);
  void check_memory(worker_record& worker);
  void grow();
  void shed_surplus();
  void watch_idle();
  void on_idle_timer();
  void count_ready();
  [[nodiscard]] std::uint64_t task_limit() const;
  [[nodiscard]] bool elastic() const { return least_ < most_; }

  // supervisor_retry.cpp: attempts and deadlines
  void conclude(const task_range& what, std::uint32_t item, std::shared_ptr<const failure> why);
  void try_again(std::uint64_t pending_retries);
  void requeue(std::uint64_t pending_retries);
  void give_up(std::uint64_t pending_retries);
  void watch_deadline(const std::shared_ptr<process_submission>& work);
  void stop_task(worker_record& worker, std::uint64_t number, stop_reason why,
                 std::chrono::milliseconds grace);
  void request_stop(worker_record& worker, std::uint64_t number);
  void send_stops(worker_record& worker);
  void watch_limit(worker_record& worker, steady_time first);
  void on_task_limit(worker_record& worker);
  [[nodiscard]] std::string overrun(const process_submission& work, stop_reason why) const;
  void on_due_timer();
  void expire(const std::shared_ptr<process_submission>& work);
  void drop_retries(const std::function<bool(const task_range&)>& which,
                    const std::shared_ptr<const failure>& why);

  // supervisor_nested.cpp: tasks of tasks
  class nested_group;
  void on_submit(worker_record& worker, const frame_header& header,
                 std::span<const std::byte> payload);
  std::shared_ptr<process_submission> decode_nested(worker_record& worker,
                                                    const frame_header& header,
                                                    std::span<const std::byte> payload);
  void begin_nested(worker_record& worker, std::uint64_t ticket,
                    std::shared_ptr<process_submission> child);
  void on_nested_done(std::uint64_t worker, std::uint64_t ticket,
                      const process_submission& finished);
  void orphan(worker_record& worker);
  void send_outcome(worker_record& worker, outcome_message message);
  void send_outcomes(worker_record& worker);
  void compensate();
  /// Tasks of tasks that wait for a worker fail if only tasks that wait for them could make room.
  void fail_stranded(const failure& why);

  // supervisor_dispatch.cpp: tasks find workers
  void enqueue(task_range what);
  void enqueue_front(std::vector<task_range> returned);
  /// The first one that waits for any worker; what waits for a certain one is put aside.
  task_range* next_range();
  bool send_own();
  worker_record* bound_worker(const process_submission& work);
  void unbind(worker_record& worker);
  void each_queue(const std::function<void(std::deque<task_range>&)>& visit);
  [[nodiscard]] bool has_room(const worker_record& worker) const;
  worker_record* pick_worker();
  bool send(worker_record& worker, task_range& what);
  /// What the parts from `begin` to `end` refer to; as `supervisor_channel::send_segment`.
  static int announce_segments(worker_record& worker, const process_submission& work,
                               const char* begin, const char* end);
  /// Is it worth trying again what could not be sent? Not for ever.
  bool may_go_later(int code);
  /// The first item of `what` fails: what it refers to cannot be handed over.
  void refuse(const worker_record& worker, task_range& what, int code);
  void settle_refused();
  void dispatch();
  void take_back(worker_record& worker);
  void balance();
  [[nodiscard]] std::chrono::milliseconds grace_of(const process_submission& work) const;
  /// Tasks that a worker may have begun at once.
  [[nodiscard]] std::uint32_t concurrency() const {
    return static_cast<std::uint32_t>(options_.concurrency);
  }

  // supervisor_cancel.cpp: outcomes that tasks get here
  void settle_value(process_submission& work);
  void settle_failure(process_submission& work, std::uint32_t item,
                      const std::shared_ptr<const failure>& why);
  void fail_pending(process_submission& work, errc code, const std::string& text);
  void fail_everything(errc code, const std::string& text);
  void sweep_group(const std::shared_ptr<submission_group>& group);
  [[nodiscard]] bool work_left() const {
    return queued_ > 0 || outstanding_ > 0 || !pending_retries_.empty();
  }

  pool_core& core_;
  const pool_options& options_;
  start_method method_;
  pool_counts& stats_;
  counter& queued_;       // items that wait for a worker
  counter& outstanding_;  // items with workers
  state state_ = state::starting;
  std::map<std::uint64_t, std::unique_ptr<worker_record>> workers_;
  std::vector<worker_record*> ring_;  // the same, for picking
  std::size_t cursor_ = 0;
  std::vector<std::byte> configuration_;       // every worker's first frame
  attachment_list configuration_attachments_;  // what it refers to
  restart_history history_;
  int least_ = 1;    // workers kept when there is nothing to do
  int most_ = 1;     // workers while there is much to do
  int target_ = 1;   // workers wanted now
  int parents_ = 0;  // workers whose tasks have tasks of their own
  int extra_ = 0;    // workers wanted beyond target_ meanwhile
  bool compensation_due_ = false;
  bool idle_timer_ = false;
  bool some_retire_ = false;
  std::map<std::string, std::uint64_t, std::less<>> bound_;  // affinity keys to workers
  std::map<std::uint64_t, pending_retry> pending_retries_;
  std::uint64_t next_retry_ = 1;
  std::multimap<steady_time, std::weak_ptr<process_submission>> dues_;
  steady_time due_timer_ = steady_time::max();
  std::size_t purge_dues_at_ = 1024;
  int starts_refused_ = 0;  // in a row, because the system was short of something
  std::shared_ptr<const failure> stranded_for_;  // why no worker could be started for children
  std::optional<steady_time> relaunch_at_;
  std::map<int, std::deque<task_range>, std::greater<>> queue_;
  int lowest_priority_ = INT_MAX;  // of all that came
  std::vector<std::shared_ptr<submission_group>> sweeps_;
  bool balance_timer_ = false;
  bool dispatch_due_ = false;
  std::optional<steady_time> short_since_;  // as many descriptors as may be are on their way
  /// Single items that were refused in this dispatch: they leave their queues first.
  std::vector<std::pair<task_range, std::shared_ptr<const failure>>> refused_;
  steady_time turn_begun_{};  // of the last dispatch that had workers with tasks
  std::shared_ptr<const failure> start_failure_;
  std::string broken_because_;
  std::uint64_t next_submission_ = 1;
  std::uint64_t killed_ = 0;  // workers that got SIGKILL from here
};

/// A failure that says no more than this.
[[nodiscard]] std::shared_ptr<failure> plain_failure(errc code, task_ran ran, std::string text);

/// Spawns the actor that owns `core`'s supervisor.
caf::actor spawn_supervisor(caf::actor_system& system, pool_core& core);

}  // namespace troupe::detail
