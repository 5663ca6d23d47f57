// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"
#include "troupe/pool_options.hpp"

#include "base/thread_safety.hpp"
#include "futures/waiting_line.hpp"
#include "pools/thread/state/map_ends.hpp"
#include "pools/thread/state/needed_tasks.hpp"
#include "pools/thread/state/task_lanes.hpp"
#include "pools/thread/state/worker_table.hpp"
#include "scheduling/pool_size.hpp"
#include "scheduling/room.hpp"

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

/// How many workers a thread pool is to have. The scheduler's lock guards it; `most` may be read
/// without.
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

/// Owns the queue of a thread pool and the table of its workers, under one lock: decides what runs
/// next and where, which sleeping worker is woken, how many workers there are.
///
///   submit ──▶ queue ◀── next ── workers, each asleep at its bell while there is nothing
///
/// While a thread holds the lock it runs no code of the user, and takes no other locks but those of
/// `waiting_line` and of futures that end.
///
/// @threads any, all members.
class thread_scheduler {
 public:
  thread_scheduler(thread_core& core, int least, int most);

  // The queue.
  /// False: the queue is full, and the caller may not block, or it was full until the deadline;
  /// `submission` is not moved from then.
  ///
  /// @blocks while the queue is full, if `may_block`.
  /// @throws error{pool_closed}.
  bool submit(std::shared_ptr<thread_submission>& submission, bool may_block,
              const deadline& until);
  /// Queues an item whose retry is due, unless it was cancelled meanwhile.
  void submit_again(const std::shared_ptr<thread_submission>& submission, std::uint32_t item);
  /// So many items left the queue, claimed or cancelled: submitters may have room.
  void note_claimed(std::uint64_t items);
  /// The same for what was left of a submission and is cancelled. Submissions that are cancelled
  /// leave the queue when they are most of what waits there, so that they need not be looked for.
  void note_cancelled(std::uint64_t items);
  task_lanes::contents take_queue();
  std::shared_ptr<room_turn> make_turn();
  /// True: something in the queue, or bound to this worker, has a higher priority than that.
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
    bool leftovers = false;                       ///< its loop has work of tasks that have ended
    bool patient = false;                         ///< it looks again before it sleeps
  };
  /// What a worker between two tasks does next; with `run`, what it has claimed is in `work`.
  ///
  /// With `let_go`, the worker destroys what it has run and what is in `released`, and asks again.
  /// Destructors of the user may wait for tasks: for those that other workers are to be woken for,
  /// so this one does not count as resting then, and for the task that this one has claimed, so
  /// `released` is kept until that has run.
  step next(worker_seat& self, const state_of_worker& how, claimed_items& work,
            released_submissions& released);
  /// For a worker that waits in a task: claims what it runs meanwhile. Of `wanted`, if that is not
  /// null; else, with `any`, what comes next; or, if there can be no further relief, what other
  /// threads need. False: nothing. `released` as in `next`.
  bool claim(worker_seat& self, const std::shared_ptr<thread_submission>& wanted, bool any,
             claimed_items& work, released_submissions& released);
  /// `frees`: from now on it would take another task at once, unless it leaves.
  void stopped_running(worker_seat& self, const thread_submission& submission, bool frees = false);
  /// How a worker waits in a task.
  struct state_of_wait {
    bool any = false;        ///< it runs any task
    std::uint32_t news = 0;  ///< `news` before it looked for what it may run
  };
  /// The worker is about to sleep in a task, and is woken when it may run something. False: it has
  /// to look again.
  bool begin_lending(worker_seat& self, const state_of_wait& how);
  void stop_lending(worker_seat& self);
  /// Changes when workers that wait have to look anew whether they may run something.
  [[nodiscard]] std::uint32_t news() const noexcept { return news_.load(); }
  /// A thread waits for the submission that cannot run it: a relief does, if all workers that
  /// would take it wait, too.
  void need(const std::shared_ptr<thread_submission>& submission);
  /// False: all other workers wait, and there can be no further relief.
  bool others_take_tasks(const worker_seat& self);
  /// The worker has waited in a task and goes on. If it was woken for a task that it does not take
  /// now, another is woken for that.
  void stop_waiting(worker_seat& self);

  // The workers' lives.
  /// Starts the first workers.
  ///
  /// @blocks until their initializers have returned.
  /// @throws what an initializer threw; error{resource_exhausted}.
  void start();
  /// Called by a worker's thread after its initializer; `problem`: what that threw, or null.
  void initialized(worker_seat& self, const std::exception_ptr& problem);
  /// Called by a worker's thread when it leaves: removes its seat. `last`: no other worker is left.
  std::unique_ptr<worker_seat> leave(worker_seat& self, bool& last);
  /// Called by a worker's thread as the last thing that it does to the pool.
  void departed();
  void close();
  /// As `close`; no item gets another attempt.
  void terminate();
  /// Blocks until no worker's thread is left. False: the deadline passed first.
  bool wait_until_gone(const deadline& until);
  void resize(int workers);
  /// Called by the timekeeper: lets workers of an elastic pool leave that were idle too long.
  void let_idle_go();

  // Retries and maps.
  /// One more item of the submission waits for a retry: workers of a closed pool stay for it.
  /// False: the pool was terminated, so there is no retry.
  bool keep_for_retry(const std::shared_ptr<thread_submission>& submission);
  void drop_retries(const std::shared_ptr<thread_submission>& submission, std::size_t items);
  /// The calling thread begins to run the user's predicate of a submission, or has ended that.
  void begin_asking(const thread_submission& of);
  void end_asking(const thread_submission& of);
  /// As `map_ends::watch`.
  std::shared_ptr<event_state> watch_end(const thread_group& map, const worker_seat* own);

  // Reads.
  [[nodiscard]] int most() const noexcept { return size_.most(); }
  /// The pool is elastic. Before the first task.
  [[nodiscard]] bool may_grow() const noexcept { return size_.least() < size_.most(); }
  bool is_closing();
  std::vector<worker_info> workers();
  /// The counts that the scheduler knows; other parts add theirs.
  pool_stats stats();
  std::vector<std::shared_ptr<thread_submission>> running();
  std::vector<std::shared_ptr<thread_submission>> retrying();

 private:
  using bell = resting_workers::bell;
  using bells = std::vector<bell>;
  enum class phase : std::uint8_t { open, closing, terminated };
  /// Whether there can be further ones: `refused`: the last thread could not be started; `fail`:
  /// an initializer threw.
  enum class relief_state : std::uint8_t { come, refused, fail };

  static void wake(const bell& one);
  static void wake(const bells& all);

  void check_accepting() const TROUPE_REQUIRES(mutex_);
  bell accept(std::shared_ptr<thread_submission> submission) TROUPE_REQUIRES(mutex_);
  bool take_room(std::uint64_t items, bool collects) TROUPE_REQUIRES(mutex_);
  bool submit_when_there_is_room(std::shared_ptr<thread_submission>& submission,
                                 const deadline& until);
  /// What waits first is run by a further thread, if all workers wait: a task waits for its room.
  void need_first(released_submissions& looked_at) TROUPE_REQUIRES(mutex_);
  bell push_bound(std::shared_ptr<thread_submission> submission) TROUPE_REQUIRES(mutex_);
  bell push_again(claimed_items item) TROUPE_REQUIRES(mutex_);
  bool claim_next(worker_seat& self, claimed_items& into, released_submissions& released)
      TROUPE_REQUIRES(mutex_);
  bool claim_from(worker_seat& self, const std::shared_ptr<thread_submission>& wanted,
                  claimed_items& into) TROUPE_REQUIRES(mutex_);
  bool try_lending(worker_seat& self, const state_of_wait& how, bells& to_wake,
                   released_submissions& looked_at);
  bool claim_from_queue(const std::shared_ptr<thread_submission>& wanted, claimed_items& into)
      TROUPE_REQUIRES(mutex_);
  /// What is needed, can begin, and will be taken by no worker but `self` before one of those that
  /// wait goes on. `self` may be null.
  std::shared_ptr<thread_submission> find_needed(const worker_seat* self,
                                                 released_submissions& looked_at)
      TROUPE_REQUIRES(mutex_);
  bool claim_needed(worker_seat& self, claimed_items& into, released_submissions& looked_at)
      TROUPE_REQUIRES(mutex_);
  [[nodiscard]] bool can_relieve() const TROUPE_REQUIRES(mutex_);
  /// Starts a relief if something is needed that no worker takes. True: it could not, so that those
  /// that wait have to look anew.
  bool relieve(bells& to_wake, released_submissions& looked_at) TROUPE_REQUIRES(mutex_);
  /// @throws std::system_error if no thread can be started.
  void start_thread_for(bool relief) TROUPE_REQUIRES(mutex_);
  void note_no_relief(relief_state now, const std::string& why) TROUPE_REQUIRES(mutex_);
  /// The bells of all workers that wait in tasks.
  bells call_lenders() TROUPE_REQUIRES(mutex_);
  void note_claimed_locked(std::uint64_t items) TROUPE_REQUIRES(mutex_);
  bell call_next() TROUPE_REQUIRES(mutex_);
  /// Starts one more worker if all are busy and the size allows it.
  void grow() TROUPE_REQUIRES(mutex_);
  /// @throws std::system_error if no thread can be started.
  void add_worker() TROUPE_REQUIRES(mutex_);
  bells begin_closing() TROUPE_REQUIRES(mutex_);
  bells close_after_retries() TROUPE_REQUIRES(mutex_);
  /// The worker is about to leave: what is bound to it goes to others.
  void withdraw(worker_seat& self, bells& to_wake) TROUPE_REQUIRES(mutex_);
  void stop_running(worker_seat& self, const thread_submission& submission) TROUPE_REQUIRES(mutex_);
  /// In a closed pool: whether this worker may still get something to run.
  [[nodiscard]] bool is_needed(const worker_seat& self) const TROUPE_REQUIRES(mutex_);
  static void note_first(std::atomic<int>& urgency, const task_lanes& lanes) noexcept;
  static void raise(std::atomic<int>& urgency, int priority) noexcept;

  // Written for every task; kept in two cache lines.
  alignas(64) guarded_mutex mutex_;
  std::atomic<std::uint64_t> queued_{0};  // items in the queue
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
    int alive = 0;              // threads that may still use this object
    int working = 0;            // of those, have not begun to leave
    int staying = 0;            // of those, are not about to
    int ready = 0;              // of those, are initialized
    int initialized = 0;        // workers whose initializers have ever returned
    bool idle_watched = false;  // the timekeeper has a limit for idle workers
    relief_state reliefs = relief_state::come;
    std::exception_ptr start_problem;
  } crew_ TROUPE_GUARDED_BY(mutex_);
  guarded_condition crew_changed_;  // a worker was initialized or its thread has ended
  /// One for each item between two attempts.
  std::multiset<std::shared_ptr<thread_submission>> retrying_ TROUPE_GUARDED_BY(mutex_);
  map_ends ends_ TROUPE_GUARDED_BY(mutex_);
  needed_tasks needed_ TROUPE_GUARDED_BY(mutex_);
  std::atomic<std::uint32_t> news_{0};                   // written under the lock
  std::size_t cancelled_ TROUPE_GUARDED_BY(mutex_) = 0;  // submissions since the queue was swept
  struct {
    std::atomic<int> blocked{0};  // threads that wait for room
    guarded_condition changed;    // the queue got shorter, it is another's turn, the pool closed
    waiting_line line;            // submissions that wait for room without a thread
  } room_;
  room_share share_ TROUPE_GUARDED_BY(mutex_);
  int single_ TROUPE_GUARDED_BY(mutex_) = 0;    // threads that wait for room for one item
  std::atomic<int> urgency_{task_lanes::none};  // the priority of the first in `lanes_`
};

}  // namespace troupe::detail
