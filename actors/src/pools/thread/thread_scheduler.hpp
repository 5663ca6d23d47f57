// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"
#include "troupe/pool_options.hpp"

#include "base/thread_safety.hpp"
#include "futures/waiting_line.hpp"
#include "pools/thread/state/queue_room.hpp"
#include "pools/thread/state/wake_list.hpp"
#include "pools/thread/state/worker_table.hpp"
#include "pools/thread/thread_crew.hpp"
#include "pools/thread/thread_queue.hpp"
#include "pools/thread/thread_reliefs.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace troupe::detail {

class thread_core;

/// Decides what the workers of a thread pool run next and where, and which sleeping worker is woken
/// for it.
///
///   submit ──▶ queue ◀── next ── workers, each asleep at its bell while there is nothing
///
/// Everything that it knows is guarded by the crew's lock: see there what a thread that holds it may
/// do.
///
/// @threads any, all members.
class thread_scheduler {
 public:
  thread_scheduler(thread_core& core, thread_crew& crew);

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
  [[nodiscard]] bool looks_empty() const noexcept { return crew_.queued().looks_empty(); }
  // No analysis of the next three: what they use of the queue and its room needs no lock.
  std::shared_ptr<room_turn> make_turn() TROUPE_NO_THREAD_SAFETY_ANALYSIS;
  /// So many items left the queue, claimed or cancelled: submitters may have room.
  void note_claimed(std::uint64_t items) TROUPE_NO_THREAD_SAFETY_ANALYSIS;
  /// True: something in the queue, or bound to this worker, has a higher priority than that.
  [[nodiscard]] bool overtakes(int priority, const worker_seat& self) const noexcept
      TROUPE_NO_THREAD_SAFETY_ANALYSIS {
    return queue_.overtakes(priority, self);
  }
  /// As `note_claimed`, for what was left of a submission and is cancelled.
  void note_cancelled(std::uint64_t items);
  task_lanes::contents take_queue();

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

  // From the first task to the last.
  /// As `thread_crew::start`, but throws the problem, when the threads have ended.
  void start();
  /// Called by a worker's thread after its initializer; `problem`: what that threw, or null.
  void initialized(worker_seat& self, const std::exception_ptr& problem);
  /// Called by a worker's thread when it leaves: removes its seat. `last`: no other worker is left.
  std::unique_ptr<worker_seat> leave(worker_seat& self, bool& last);
  void close();
  /// As `close`; no item gets another attempt.
  void terminate();
  /// One more item of the submission waits for a retry: workers of a closed pool stay for it.
  /// False: the pool was terminated, so there is no retry.
  bool keep_for_retry(const std::shared_ptr<thread_submission>& submission);
  void drop_retries(const std::shared_ptr<thread_submission>& submission, std::size_t items);
  std::vector<std::shared_ptr<thread_submission>> retrying();
  /// The counts that crew and queue know; other parts add theirs.
  pool_stats stats();

 private:
  void accept(std::shared_ptr<thread_submission> submission, wake_list& to_wake)
      TROUPE_REQUIRES(crew_.mutex());
  bool submit_when_there_is_room(std::shared_ptr<thread_submission>& submission,
                                 const deadline& until);
  /// What waits first is run by a further thread, if all workers wait: a task waits for its room.
  void need_first(released_submissions& looked_at) TROUPE_REQUIRES(crew_.mutex());
  bool claim_next(worker_seat& self, claimed_items& into, released_submissions& released)
      TROUPE_REQUIRES(crew_.mutex());
  bool claim_wanted(worker_seat& self, const std::shared_ptr<thread_submission>& wanted,
                    claimed_items& into) TROUPE_REQUIRES(crew_.mutex());
  bool claim_needed(worker_seat& self, claimed_items& into, released_submissions& looked_at)
      TROUPE_REQUIRES(crew_.mutex());
  /// Starts a relief if something is needed that no worker takes. True: it could not, so that those
  /// that wait have to look anew.
  bool relieve(wake_list& to_wake, released_submissions& looked_at) TROUPE_REQUIRES(crew_.mutex());
  void warn_of_no_relief(const std::string& why);
  /// Calls a worker for what was queued: this one; null: any.
  void call_for(worker_seat* only, wake_list& to_wake) TROUPE_REQUIRES(crew_.mutex());
  /// The same for what is still queued for any worker.
  void call_for_rest(wake_list& to_wake) TROUPE_REQUIRES(crew_.mutex());
  /// Calls all workers that wait in tasks.
  void call_lenders(wake_list& to_wake) TROUPE_REQUIRES(crew_.mutex());
  void begin_closing(wake_list& to_wake) TROUPE_REQUIRES(crew_.mutex());
  /// The worker is about to leave: what is bound to it goes to others.
  void withdraw(worker_seat& self, wake_list& to_wake) TROUPE_REQUIRES(crew_.mutex());

  thread_crew& crew_;
  thread_core& core_;
  thread_queue queue_ TROUPE_GUARDED_BY(crew_.mutex());
  queue_room room_ TROUPE_GUARDED_BY(crew_.mutex());
  thread_reliefs reliefs_ TROUPE_GUARDED_BY(crew_.mutex());
  /// One for each item between two attempts.
  std::multiset<std::shared_ptr<thread_submission>> retrying_ TROUPE_GUARDED_BY(crew_.mutex());
  std::atomic<std::uint32_t> news_{0};  // written under the lock
};

}  // namespace troupe::detail
