// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"
#include "troupe/pool_options.hpp"

#include "base/thread_safety.hpp"
#include "futures/waiting_line.hpp"
#include "pools/thread/work/map_ends.hpp"
#include "pools/thread/work/task_lanes.hpp"
#include "pools/thread/work/worker_table.hpp"
#include "scheduling/pool_size.hpp"

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace troupe::detail {

class thread_core;

/// How many workers a thread pool is to have, for the scheduler's lock and for readers without it.
class crew_size {
 public:
  crew_size(int least, int most) : wanted_{least, most}, most_{most} {}

  [[nodiscard]] int most() const noexcept { return most_.load(); }
  [[nodiscard]] int wanted() const noexcept { return wanted_.target(); }
  [[nodiscard]] int least() const noexcept { return wanted_.least(); }
  [[nodiscard]] bool may_shrink() const noexcept { return wanted_.may_shrink(); }
  void set(int workers) noexcept {
    wanted_.set(workers);
    most_ = workers;
  }
  void limit(int most) noexcept {
    wanted_.limit(most);
    most_ = most;
  }
  void grow() noexcept { wanted_.grow(1); }
  void shrink() noexcept { wanted_.shrink(); }

 private:
  pool_size wanted_;
  std::atomic<int> most_;
};

/// The queue of a thread pool and the workers that share it, under one lock: what runs next and
/// where, which worker sleeps and which is woken, how many there are.
///
///   submit ──▶ queue ◀── next ── workers, each asleep at its bell while there is nothing
///
/// No code of the user runs while the lock is held, and no other lock is taken then but those of
/// `waiting_line` and of futures that end.
///
/// @threads any.
class thread_scheduler {
 public:
  thread_scheduler(thread_core& core, int least, int most);

  // The queue.
  /// False: it is full, and may not block or was full until then. Not moved from then.
  ///
  /// @throws pool_closed.
  bool submit(std::shared_ptr<thread_submission>& submission, bool may_block,
              const deadline& until);
  /// An item that was waiting for its retry is to run again, unless it was cancelled.
  void submit_again(const std::shared_ptr<thread_submission>& submission, std::uint32_t item);
  /// So many items left the queue, claimed or cancelled.
  void note_claimed(std::uint64_t items);
  task_lanes::contents take_queue();
  std::shared_ptr<room_turn> make_turn();
  /// Is anything worth leaving a task of that priority for?
  [[nodiscard]] bool overtakes(int priority, const worker_seat& self) const noexcept {
    return std::max(urgency_.load(std::memory_order_relaxed),
                    self.urgency.load(std::memory_order_relaxed)) > priority;
  }
  [[nodiscard]] bool looks_empty() const noexcept {
    return queued_.load(std::memory_order_relaxed) == 0;
  }

  // What a worker does.
  enum class step : std::uint8_t { run, let_go, look_again, loop, sleep, leave };
  struct state_of_worker {
    const thread_submission* finished = nullptr;  ///< it has run items of this
    bool holds = false;                           ///< perhaps the last pointer to what it has run
    bool may_begin = false;                       ///< has room for one more task
    bool looping = false;                         ///< it has coroutines
    bool leftovers = false;                       ///< it has what tasks left to run after them
    bool patient = false;                         ///< looks again before it sleeps
  };
  /// What a worker between two tasks does next; with `run`, what it has claimed is in `work`.
  ///
  /// With `let_go`, the worker destroys what it has run and what is in `released`, and asks again.
  /// Destructors of the user may wait for tasks: for those that other workers are to be woken for,
  /// so this one does not count as resting then, and for the task that this one has claimed, so
  /// `released` is kept until that has run.
  step next(worker_seat& self, const state_of_worker& how, claimed_items& work,
            released_submissions& released);
  /// For a worker that waits in a task: claims what it runs meanwhile, of `wanted` rather than of
  /// another. False: nothing. `released` as in `next`.
  bool claim(worker_seat& self, const std::shared_ptr<thread_submission>& wanted,
             claimed_items& work, released_submissions& released);
  /// `frees`: from now on it would take another task at once, unless it leaves.
  void stopped_running(worker_seat& self, const thread_submission& submission, bool frees = false);
  /// It waits in a task, and is woken for others. False: there is one.
  bool begin_lending(worker_seat& self);
  void stop_lending(worker_seat& self);
  /// What a worker was woken for, another may take.
  void pass_on();

  // The workers' lives.
  /// @throws what an initializer threw; error{resource_exhausted}.
  void start();
  /// By the worker's thread: it can begin, or why not.
  void initialized(worker_seat& self, const std::exception_ptr& problem);
  /// It takes no more tasks, and its seat goes. `last`: there is no other.
  std::unique_ptr<worker_seat> leave(worker_seat& self, bool& last);
  /// By its thread, at its end.
  void departed();
  void close();
  /// As close, and nothing is tried again.
  void terminate();
  /// Until no thread of a worker is left. False: the deadline passed first.
  bool wait_until_gone(const deadline& until);
  void resize(int workers);
  void let_idle_go();

  // Retries and maps.
  /// The submission has one item more that waits for a retry, for which workers stay. False: the
  /// pool was terminated.
  bool keep_for_retry(const std::shared_ptr<thread_submission>& submission);
  void drop_retries(const std::shared_ptr<thread_submission>& submission, std::size_t items);
  void begin_asking(const thread_submission& of);
  void end_asking(const thread_submission& of);
  std::shared_ptr<map_end> watch_end(const thread_group& map, const worker_seat* own);

  // What is asked.
  [[nodiscard]] int most() const noexcept { return size_.most(); }
  bool is_closing();
  std::vector<worker_info> workers();
  /// All but what other parts of the pool count.
  pool_stats stats();
  std::vector<std::shared_ptr<thread_submission>> running();
  std::vector<std::shared_ptr<thread_submission>> retrying();

 private:
  using bell = resting_workers::bell;
  using bells = std::vector<bell>;
  enum class phase : std::uint8_t { open, closing, terminated };

  static void wake(const bell& one);
  static void wake(const bells& all);

  void check_accepting() const TROUPE_REQUIRES(mutex_);
  bell accept(std::shared_ptr<thread_submission> submission) TROUPE_REQUIRES(mutex_);
  [[nodiscard]] bool fits(std::uint64_t items) const;
  bool submit_when_there_is_room(std::shared_ptr<thread_submission>& submission,
                                 const deadline& until);
  bell push_bound(std::shared_ptr<thread_submission> submission) TROUPE_REQUIRES(mutex_);
  bell push_again(claimed_items item) TROUPE_REQUIRES(mutex_);
  bool claim_next(worker_seat& self, claimed_items& into, released_submissions& released)
      TROUPE_REQUIRES(mutex_);
  bool claim_from(const worker_seat& self, const std::shared_ptr<thread_submission>& wanted,
                  claimed_items& into) TROUPE_REQUIRES(mutex_);
  void note_claimed_locked(std::uint64_t items) TROUPE_REQUIRES(mutex_);
  bell call_next() TROUPE_REQUIRES(mutex_);
  /// Starts one more if all are busy and there may be more.
  void grow() TROUPE_REQUIRES(mutex_);
  /// @throws std::system_error where no thread can be started.
  void add_worker() TROUPE_REQUIRES(mutex_);
  bells begin_closing() TROUPE_REQUIRES(mutex_);
  bells close_after_retries() TROUPE_REQUIRES(mutex_);
  /// It leaves, and what waited for it alone goes to others.
  void withdraw(worker_seat& self, bells& to_wake) TROUPE_REQUIRES(mutex_);
  void stop_running(worker_seat& self, const thread_submission& submission) TROUPE_REQUIRES(mutex_);
  /// In a closed pool.
  [[nodiscard]] bool is_needed(const worker_seat& self) const TROUPE_REQUIRES(mutex_);
  static void note_first(std::atomic<int>& urgency, const task_lanes& lanes) noexcept;
  static void raise(std::atomic<int>& urgency, int priority) noexcept;

  // What is written for every task, in two cache lines.
  alignas(64) guarded_mutex mutex_;
  std::atomic<std::uint64_t> queued_{0};  // items that wait
  struct {
    std::uint64_t submitted = 0;  // items
    std::uint64_t next_number = 1;
  } accepted_ TROUPE_GUARDED_BY(mutex_);
  task_lanes lanes_ TROUPE_GUARDED_BY(mutex_);
  phase phase_ TROUPE_GUARDED_BY(mutex_) = phase::open;
  resting_workers resting_ TROUPE_GUARDED_BY(mutex_);

  thread_core& core_;
  worker_table workers_ TROUPE_GUARDED_BY(mutex_);
  crew_size size_;
  struct {
    int alive = 0;              // threads that may still touch this
    int working = 0;            // have not begun to leave
    int staying = 0;            // of those, will not soon
    int ready = 0;              // of those, are initialized
    int initialized = 0;        // ever
    bool idle_watched = false;  // the timekeeper will look at those that are idle
    std::exception_ptr start_problem;
  } crew_ TROUPE_GUARDED_BY(mutex_);
  guarded_condition crew_changed_;  // a worker came up or its thread has ended
  /// One for each item between two attempts.
  std::multiset<std::shared_ptr<thread_submission>> retrying_ TROUPE_GUARDED_BY(mutex_);
  map_ends ends_ TROUPE_GUARDED_BY(mutex_);
  struct {
    std::atomic<int> blocked{0};  // submitters that wait for room with their threads
    guarded_condition changed;    // the queue got shorter, or the pool closed
    waiting_line line;            // of those that wait without a thread
  } room_;
  std::atomic<int> urgency_{task_lanes::none};  // the priority of what is first
};

}  // namespace troupe::detail
