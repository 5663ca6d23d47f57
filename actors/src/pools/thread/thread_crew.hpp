// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"
#include "troupe/pool_options.hpp"

#include "base/thread_safety.hpp"
#include "pools/thread/queue_count.hpp"
#include "pools/thread/state/crew_size.hpp"
#include "pools/thread/state/map_ends.hpp"
#include "pools/thread/state/wake_list.hpp"
#include "pools/thread/state/worker_table.hpp"

#include <cstdint>
#include <exception>
#include <memory>
#include <vector>

namespace troupe::detail {

class thread_core;

/// The workers of a thread pool: how many there are and are to be, from the start of their threads
/// to the end; which of them sleep; what each of them runs. Knows whether the pool is open.
///
/// Its lock guards what the scheduler knows, too, which decides what they run. While a thread holds
/// it, it runs no code of the user, and takes no other locks but those of `waiting_line` and of
/// futures that end.
///
/// @threads any, all members.
class thread_crew {
 public:
  thread_crew(thread_core& core, int least, int most);

  [[nodiscard]] guarded_mutex& mutex() noexcept TROUPE_RETURNS(mutex_) { return mutex_; }
  /// For the queue; what of it needs the lock is said there.
  [[nodiscard]] queue_count& queued() noexcept { return queued_; }

  // The workers' lives.
  /// Starts the first workers. Returns what an initializer threw, or an error{resource_exhausted};
  /// then the caller closes the pool.
  ///
  /// @blocks until their initializers have returned.
  std::exception_ptr start();
  /// Called by a worker's thread as the last thing that it does to the pool.
  void departed();
  /// Blocks until no worker's thread is left. False: the deadline passed first.
  bool wait_until_gone(const deadline& until);
  void resize(int workers);
  /// Called by the timekeeper: lets workers of an elastic pool leave that were idle too long.
  void let_idle_go();

  // What they run.
  /// `frees`: from now on it would take another task at once, unless it leaves.
  void stopped_running(worker_seat& self, const thread_submission& submission, bool frees = false);
  /// The calling thread begins to run the user's predicate of a submission, or has ended that.
  void begin_asking(const thread_submission& of);
  void end_asking(const thread_submission& of);
  /// As `map_ends::watch`.
  std::shared_ptr<event_state> watch_end(const thread_group& map, const worker_seat* own);

  // Reads.
  [[nodiscard]] int most() const noexcept { return size_.most(); }
  /// The pool is elastic. Before the first task.
  [[nodiscard]] bool may_grow() const noexcept { return size_.least() < size_.most(); }
  [[nodiscard]] bool is_closing() const;
  /// No thread of a worker is left.
  [[nodiscard]] bool is_gone() const;
  std::vector<worker_info> infos();
  std::vector<std::shared_ptr<thread_submission>> running();

  // For the scheduler, which holds the lock.
  [[nodiscard]] worker_table& workers() TROUPE_REQUIRES(mutex_) { return workers_; }
  [[nodiscard]] resting_workers& resting() TROUPE_REQUIRES(mutex_) { return resting_; }
  /// The counts that the crew knows.
  void add_counts(pool_stats& to) const TROUPE_REQUIRES(mutex_);

  [[nodiscard]] bool is_open() const TROUPE_REQUIRES(mutex_) { return phase_ == phase::open; }
  [[nodiscard]] bool is_terminated() const TROUPE_REQUIRES(mutex_) {
    return phase_ == phase::terminated;
  }
  /// @throws error{pool_closed}.
  void check_accepting() const TROUPE_REQUIRES(mutex_) {
    if (phase_ != phase::open) {
      throw_not_accepting();
    }
  }
  void close(wake_list& to_wake) TROUPE_REQUIRES(mutex_);
  void terminate() TROUPE_REQUIRES(mutex_) { phase_ = phase::terminated; }

  /// Starts one more worker if all are busy and the size allows it.
  void grow() TROUPE_REQUIRES(mutex_);
  /// @throws std::system_error if no thread can be started.
  void start_relief() TROUPE_REQUIRES(mutex_) { start_thread_for(true); }
  /// A worker's initializer has returned; has thrown.
  void note_ready(worker_seat& self) TROUPE_REQUIRES(mutex_);
  void note_failed(const std::exception_ptr& problem) TROUPE_REQUIRES(mutex_);
  void notify_changed() TROUPE_REQUIRES(mutex_) { changed_.notify_all(); }
  /// The worker sleeps for want of tasks. True: the timekeeper is to look for idle ones.
  [[nodiscard]] bool note_idle(worker_seat& self) TROUPE_REQUIRES(mutex_);
  void stop_running(worker_seat& self, const thread_submission& submission) TROUPE_REQUIRES(mutex_);

  [[nodiscard]] bool is_surplus(const worker_seat& self) const TROUPE_REQUIRES(mutex_) {
    return !self.leaving && !self.relief && phase_ == phase::open &&
           count_.are_too_many(size_.wanted());
  }
  /// In a closed pool: another worker may leave something for this one to run.
  [[nodiscard]] bool others_may_leave_work(const worker_seat& self) const TROUPE_REQUIRES(mutex_);
  /// There is a worker that has not begun to leave.
  [[nodiscard]] bool any_works() const TROUPE_REQUIRES(mutex_) { return count_.working() > 0; }
  /// The worker is about to leave; nothing is bound to it from now on. `withdraw`: before there is
  /// nothing more to do.
  void withdraw(worker_seat& self) TROUPE_REQUIRES(mutex_);
  void note_leaving(worker_seat& self) TROUPE_REQUIRES(mutex_);
  /// The worker leaves: removes its seat. `last`: no other is left.
  std::unique_ptr<worker_seat> remove(worker_seat& self, bool& last) TROUPE_REQUIRES(mutex_);

 private:
  enum class phase : std::uint8_t { open, closing, terminated };

  [[noreturn]] void throw_not_accepting() const TROUPE_REQUIRES(mutex_);
  /// @throws std::system_error if no thread can be started.
  void start_thread_for(bool relief) TROUPE_REQUIRES(mutex_);
  std::exception_ptr cannot_start(const char* what, const std::exception& refused) const;

  // Written for every task; kept in two cache lines. While no worker sleeps, it is only the first:
  // a thread that gets the lock has the counts of the queue with it.
  alignas(64) mutable guarded_mutex mutex_;
  queue_count queued_;
  resting_workers resting_ TROUPE_GUARDED_BY(mutex_);
  phase phase_ TROUPE_GUARDED_BY(mutex_) = phase::open;

  thread_core& core_;
  worker_table workers_ TROUPE_GUARDED_BY(mutex_);
  crew_size size_;
  crew_count count_ TROUPE_GUARDED_BY(mutex_);
  bool idle_watched_ TROUPE_GUARDED_BY(mutex_) = false;  // the timekeeper has a limit for idle ones
  std::exception_ptr start_problem_ TROUPE_GUARDED_BY(mutex_);
  guarded_condition changed_;  // a worker was initialized or its thread has ended
  map_ends ends_ TROUPE_GUARDED_BY(mutex_);
};

}  // namespace troupe::detail
