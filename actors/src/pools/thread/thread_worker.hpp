// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"

#include "futures/waiting.hpp"
#include "pools/thread/state/thread_coroutines.hpp"
#include "pools/thread/state/worker_table.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace troupe::detail {

class thread_core;

/// A worker of a thread pool: runs tasks, and while one of them waits, what it waits for.
///
/// On its stack each task waits for the one above it: a worker that waits runs what is awaited, or
/// what has to end before that, and nothing else. So no task lies below one that waits for it, and
/// none has to return before a wait can go on that has nothing to do with it. What a worker waits
/// for and cannot run, it tells that task's pool (`need`). If no worker will take it, because all
/// wait, or the one it is bound to does, the pool runs it on a relief, a worker beyond its size: on
/// the stack of another it might lie above a task that it waits for. Where what a wait needs is not
/// known, which is so for room in the queue, the turn at an input, and coroutines of the worker's
/// own loop, it runs any task; and where no further relief can be had, what is needed.
///
/// Lives on the stack of the worker's thread, which keeps the pool alive. Owns the loop of its
/// coroutines; its seat belongs to the scheduler.
///
/// @threads the worker's own, all members.
class thread_worker final : public wait_helper {
 public:
  thread_worker(thread_core& core, worker_seat& seat) : core_{core}, seat_{seat} {}
  thread_worker(const thread_worker&) = delete;
  thread_worker& operator=(const thread_worker&) = delete;

  /// Runs the initializer, then tasks until the worker is to leave.
  void live();
  /// Called by a task that waits for a future: runs what it waits for until it is done.
  ///
  /// @throws error{would_deadlock} if it would wait for itself, or is nested too deeply.
  bool wait_for(const future_state& awaited, const deadline& until) override;
  /// Called by a task that submits to a full queue: runs one task, which makes room. False: all that
  /// waits is bound to other workers.
  ///
  /// @throws error{would_deadlock}, if tasks are nested too deeply for that.
  bool make_room();
  /// The calling thread's worker, if it belongs to this pool; otherwise null.
  static thread_worker* here(const thread_core& pool) noexcept;
  [[nodiscard]] worker_seat& seat() const noexcept { return seat_; }

 private:
  /// Runs the initializer; null, or what it threw.
  std::exception_ptr begin();
  /// Runs tasks until it is to leave.
  void take_turns();
  void leave();
  /// Claims and runs items, as `thread_scheduler::claim`; false: there are none.
  bool lend_a_hand(const std::shared_ptr<thread_submission>& wanted, bool any,
                   const future_state* awaited, const deadline& until);
  /// What a look at the awaited future and all that has to end before it has brought.
  struct look {
    bool ran = false;         ///< a task of it
    bool coroutines = false;  ///< what a coroutine waits for is not known: it may be any task
  };
  /// What a look at one of these finds.
  enum class finding : std::uint8_t {
    nothing,    ///< this worker has nothing to run of it, and never gets it
    may_run,    ///< this worker may have to run it later
    has_ended,  ///< the wait is over
  };
  /// A step of `run_awaited`: runs it, if it has not begun, or notes that it is needed.
  finding run_or_need(const future_state& state, const future_state& awaited, const deadline& until,
                      look& found);
  /// Runs what has not begun of what has to end before the awaited one.
  look run_awaited(const future_state& awaited, const deadline& until,
                   const awaited_looks::news& now);
  /// The same for what one that ends with the first of its sources has still to be looked at.
  void run_sources(awaited_looks& of, const awaited_looks::news& now, const future_state& awaited,
                   const deadline& until, look& found);
  /// It lies on this worker's stack, or cannot begin here because that is too deep.
  [[nodiscard]] bool is_stuck(const future_state& awaited) const;
  /// What is on its stack, but not what a limit of time may end before.
  [[nodiscard]] std::vector<const future_state*> ends_with_its_task() const;
  [[noreturn]] void throw_deadlock() const;
  /// Stops between two items when `awaited` is done or the deadline has passed.
  void run_claimed(claimed_items& work, const future_state* awaited, const deadline& until);
  void run_item(thread_submission& submission, std::uint32_t item, bool again);
  void begin_coroutine(const std::shared_ptr<thread_submission>& submission, std::uint32_t item,
                       bool again);
  /// The number of the attempt that begins now; none if the item has its outcome already.
  std::optional<std::uint32_t> enter(thread_submission& submission, std::uint32_t item, bool again);
  [[nodiscard]] bool may_begin_more() const;
  void sleep(std::uint32_t seen, const deadline& until);
  void note_busy();

  thread_core& core_;
  worker_seat& seat_;
  int depth_ = 0;                                ///< how many tasks are on its stack
  std::vector<const thread_submission*> stack_;  ///< of the tasks that it runs, coroutines not
  std::unique_ptr<worker_loop> loop_;            ///< made with its first coroutine
};

}  // namespace troupe::detail
