// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_core.hpp"
#include "troupe/thread_pool.hpp"

#include "futures/callback_runner.hpp"
#include "futures/made_here.hpp"
#include "futures/waiting_line.hpp"
#include "os/library_thread.hpp"
#include "pools/engine.hpp"
#include "pools/thread/ring.hpp"

#include <atomic>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::detail {

/// How deep tasks may wait for tasks of their own pool, one on top of the other in one thread.
inline constexpr int max_export_depth = 64;

/// What `this_task` tells in a task of a thread pool.
struct local_task {
  std::uint64_t number = 0;
  thread_core* core = nullptr;
  thread_submission* submission = nullptr;
  std::uint32_t item = 0;
  std::uint32_t attempt = 1;
  bool over = false;  ///< of a coroutine: it has ended, and what it left to run goes on
  /// The calling thread's; null outside of such tasks.
  static const local_task*& here() noexcept;
  void report(std::uint64_t done, std::uint64_t total, std::string_view text) const;
  [[nodiscard]] std::stop_token stop_token() const;
};

class worker_loop;

/// Wakes a worker, wherever it sleeps; shared, so that it is safe after that worker has gone.
class worker_bell {
 public:
  [[nodiscard]] std::uint32_t look() const noexcept { return flag_.look(); }
  void sleep(std::uint32_t seen, const deadline& until = std::nullopt) noexcept {
    flag_.sleep(seen, until);
  }
  void wake() noexcept;
  /// From now on the worker may also sleep in a loop of coroutines, which this ends; null: no more.
  void set_poke(std::function<void()> poke);

 private:
  wake_flag flag_;
  std::atomic<bool> has_poke_{false};
  std::mutex mutex_;
  std::function<void()> poke_;  // guarded by mutex_
};

/// The core of a thread pool.
///
///   submit ──▶ queue (one lock) ◀── take ── worker threads
///                                              │  each asleep at its bell while there is nothing
///   timekeeper thread (with the first limit) ──┘  outcomes: the thread that decides first
///
/// Locks: `mutex_` for the queue, what runs and who sleeps, `control_` for limits, stop tokens,
/// attempts and failures. None is held while a task, a callback or a stop callback runs; they are
/// never nested.
class thread_core final : public engine, public std::enable_shared_from_this<thread_core> {
 public:
  explicit thread_core(const thread_pool_options& options);
  ~thread_core() override;
  thread_core(const thread_core&) = delete;
  thread_core& operator=(const thread_core&) = delete;

  /// Starts the workers and runs their initializers; throws what one of those throws.
  void start();
  bool submit(std::shared_ptr<thread_submission> submission, bool may_block,
              const deadline& until = {});
  void close() override;
  void join() override;
  bool join_until(const deadline& until) override;
  void terminate() override { terminate(options_.grace); }
  void kill() override { terminate(std::chrono::milliseconds{0}); }
  void end() noexcept override;
  void cancel_waiting() override { cancel_waiting(" was shut down before it began"); }
  void ask_all_to_stop() override;
  void resize(int workers) override;
  std::shared_ptr<room_turn> make_turn() override;
  std::vector<worker_info> workers() override;
  pool_stats stats() override;
  [[nodiscard]] const options_ptr& task_defaults() const noexcept override {
    return task_defaults_;
  }
  [[nodiscard]] std::chrono::milliseconds grace() const noexcept override { return options_.grace; }
  [[nodiscard]] std::string title() const override { return "thread pool '" + options_.name + "'"; }
  [[nodiscard]] bool in_own_task() const noexcept override {
    return worker_of_this_thread() != nullptr;
  }
  [[nodiscard]] bool can_wait() const noexcept override { return is_of_this_process(); }

  void terminate(std::chrono::milliseconds grace);
  /// False in a forked child, where its threads do not exist.
  [[nodiscard]] bool is_of_this_process() const noexcept;
  void cancel_waiting(const char* because);
  [[nodiscard]] bool elastic() const noexcept {
    return options_.min_workers.has_value() || options_.max_workers.has_value();
  }
  bool cancel(thread_submission& which, bool force);
  /// By a worker's thread, at its end.
  void departed();

  [[nodiscard]] const thread_pool_options& options() const noexcept { return options_; }
  /// Tasks that may be on workers at the same time.
  [[nodiscard]] int most_at_once() const noexcept { return most_.load() * options_.concurrency; }
  [[nodiscard]] const std::shared_ptr<callback_runner>& callbacks() const { return callbacks_; }
  /// Of an attempt that is over: one that is never set.
  std::stop_token stop_token_of(thread_submission& submission, std::uint32_t item,
                                std::uint32_t attempt);
  /// Cancels the items of `which` that nobody has claimed; how many that were.
  std::uint32_t cancel_rest(thread_submission& which, const std::string& why,
                            errc code = errc::cancelled);
  /// Items that are between two attempts.
  std::uint32_t pending_retries_of(const thread_submission& submission);
  /// Asks what runs of a map, and is cut off, to stop.
  void stop_what_is_cut(const thread_group& map);
  /// Returns when nothing of the map runs any more but what is on the stack of the calling thread.
  /// Nothing of it may begin any more.
  void wait_until_nothing_runs(const thread_group& map);

 private:
  class worker;
  /// Tells who waits in `wait_until_nothing_runs`.
  class map_end;
  struct map_watch {
    const thread_group* map = nullptr;
    std::size_t below = 0;  ///< on the stack of who waits
    std::shared_ptr<map_end> end;
  };
  /// Items of one submission that a worker has claimed.
  struct claimed {
    std::shared_ptr<thread_submission> submission;
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    bool again = false;  ///< one item that was waiting for a retry
  };
  struct alignas(64) lane {
    int priority = 0;
    ring<std::shared_ptr<thread_submission>> submissions{};
    std::deque<claimed> again{};  ///< before all others; may have been cancelled meanwhile
    [[nodiscard]] bool empty() const noexcept { return submissions.empty() && again.empty(); }
  };
  struct limit {
    std::shared_ptr<thread_submission> submission;  ///< none for `let_idle_go`
    std::uint32_t item = 0;
    std::uint32_t attempt = 0;  ///< of `ask_to_stop` and `time_out`; another one is not limited
    enum class step : std::uint8_t {
      ask_to_stop,
      time_out,
      give_up,
      overdue,
      try_again,
      let_idle_go
    } what = step::ask_to_stop;
  };
  static constexpr std::uint32_t every_item = UINT32_MAX;

  /// The worker that should look at the queue, an idle one or one that waits in a task; null: none.
  using sleeper = std::shared_ptr<worker_bell>;
  /// Submissions that left the queue: destroyed without the lock, as their destructors are the
  /// user's.
  using released_submissions = std::vector<std::shared_ptr<thread_submission>>;

  // The queue; these need the lock.
  sleeper push(std::shared_ptr<thread_submission> submission);
  sleeper push_bound(std::shared_ptr<thread_submission> submission);
  sleeper push_again(claimed item);
  [[nodiscard]] worker& worker_bound_to(const std::string& key);
  /// Gives what waits for a worker that leaves to others.
  void rehome(worker& from, std::vector<sleeper>& to_wake);
  bool take(worker& self, claimed& into, released_submissions& released);
  bool take_front(lane& from, claimed& into, released_submissions& released);
  bool take_from(const worker& self, const std::shared_ptr<thread_submission>& wanted,
                 claimed& into);
  /// For any worker; what waits for a certain one does not count.
  [[nodiscard]] bool anything_queued() const;
  sleeper pick_sleeper();
  sleeper call(worker& which);
  /// Starts one more if all are busy and there may be more.
  sleeper grow();
  std::vector<sleeper> begin_closing();
  void check_accepting() const;
  static void lock_patiently(std::unique_lock<std::mutex>& lock);

  static void wake(const sleeper& whom);
  void pass_on();
  void note_claimed(std::uint64_t items, bool locked);
  [[nodiscard]] worker* worker_of_this_thread() const noexcept;

  /// The life of a worker, on its thread.
  void run(worker& self);
  /// Runs tasks until it is to leave.
  void take_turns(worker& self);
  /// In a closed pool, with the lock.
  [[nodiscard]] bool not_needed_any_more(const worker& self) const;
  /// Leaves, and gives what waited for it alone to others.
  void withdraw(worker& self, std::vector<sleeper>& to_wake);
  void watch_idle();
  void let_idle_go();
  bool begin(worker& self);
  void leave(worker& self);
  void run_claimed(worker& self, claimed& work, const future_state* awaited);
  void run_item(worker& self, thread_submission& submission, std::uint32_t item, bool again);
  /// The attempt that begins now; none if the item is over already.
  std::optional<std::uint32_t> enter(thread_submission& submission, std::uint32_t item, bool again);
  /// How an attempt ended, on the thread that ran it.
  struct attempt_end {
    std::uint32_t item = 0;
    std::uint32_t attempt = 1;
    std::exception_ptr thrown{};   ///< null: its value is stored
    bool says_it_stopped = false;  ///< a coroutine that ended because it was asked to
  };
  /// After it ran: what becomes of the item, another attempt or an outcome (unless it has one).
  void conclude(worker& self, thread_submission& submission, attempt_end how);
  /// What limits and cancellation say of an item that runs.
  struct limits_of_item {
    bool overdue = false;
    bool timed_out = false;
    bool cancelled = false;
  };
  limits_of_item limits_on(const thread_submission& submission, std::uint32_t item);

  // Coroutines; see thread_coroutines.cpp.
  friend class worker_loop;
  void begin_coroutine(worker& self, const std::shared_ptr<thread_submission>& submission,
                       std::uint32_t item, bool again);
  [[nodiscard]] bool may_begin_more(const worker& self) const;
  /// Runs one claim if there is any, of `wanted` rather than of another; false: nothing.
  bool lend_a_hand(worker& self, const std::shared_ptr<thread_submission>& wanted,
                   const future_state* awaited);
  // Attempts after the first; see thread_retry.cpp.
  /// True: the item is between two attempts, or runs again already, and is no longer the caller's.
  bool plan_retry(thread_submission& submission, const attempt_end& how,
                  const std::shared_ptr<const failure>& what);
  void ask_whether_again(const std::shared_ptr<thread_submission>& submission, std::uint32_t item,
                         const std::shared_ptr<const failure>& what);
  void try_again(const std::shared_ptr<thread_submission>& submission, std::uint32_t item);
  void give_up(thread_submission& submission, std::uint32_t item);
  /// The attempt that now begins; none if somebody has said meanwhile how the item ends.
  std::optional<std::uint32_t> begin_again(thread_submission& submission, std::uint32_t item);
  /// That many items of the submission are no longer between two attempts.
  void drop_retries(thread_submission& submission, std::size_t items);
  std::vector<std::shared_ptr<thread_submission>> retrying_submissions();
  /// The attempt that is under way, or is the next; with `control_` held.
  [[nodiscard]] static std::uint32_t attempt_of(const thread_submission& submission,
                                                std::uint32_t item);
  [[nodiscard]] static bool is_cut(const thread_submission& submission, std::uint32_t item) {
    return submission.group && submission.group->stops_what_it_cuts &&
           submission.group->cuts(submission.first_item + item);
  }

  // The ends of maps; see thread_waiting.cpp. With the lock.
  [[nodiscard]] std::size_t running_of(const thread_group& map) const;
  [[nodiscard]] std::size_t below_caller(const thread_group& map) const;
  void look_for_map_ends(const thread_submission& ended);
  /// How many coroutines of the map the calling thread is in the middle of.
  [[nodiscard]] static std::size_t coroutines_below_caller(const thread_group& map);

  void settle(thread_submission& submission, std::uint32_t items);
  void fail(thread_submission& submission, std::uint32_t item, const std::exception_ptr& thrown,
            std::shared_ptr<const failure> what);
  [[nodiscard]] std::shared_ptr<const failure> plain(errc code, task_ran ran,
                                                     const std::string& text,
                                                     const thread_submission& submission,
                                                     std::uint32_t attempt = 1) const;
  [[nodiscard]] std::shared_ptr<const failure> timed_out(const thread_submission& submission,
                                                         std::uint32_t attempt) const;
  [[nodiscard]] std::string overdue_text(const thread_submission& submission) const;
  /// Starts one more; with `mutex_` held.
  ///
  /// @throws std::system_error where no thread can be started.
  void add_worker();
  /// All that are idle are to look at the queue; with `mutex_` held.
  std::vector<sleeper> call_idle();
  [[nodiscard]] int take_place();

  /// While one lives, the calling thread, which need not be a worker, may take tasks away from the
  /// workers and say how they end. Who joins the pool waits for the end of that.
  class concluding {
   public:
    explicit concluding(thread_core& of);
    /// For one that was noted with `control_` held, in `concluding_`.
    concluding(thread_core& of, std::adopt_lock_t /*noted*/) : of_{of} {}
    ~concluding();
    concluding(const concluding&) = delete;
    concluding& operator=(const concluding&) = delete;

   private:
    thread_core& of_;
  };
  /// False: the deadline passed first.
  bool wait_until_concluded(const deadline& until);

  // Limits; see the timekeeper in thread_limits.cpp.
  void begin_limit(thread_submission& submission, std::uint32_t item, std::uint32_t attempt);
  void watch_deadline(const std::shared_ptr<thread_submission>& submission);
  void forget_deadline(const thread_submission& submission);
  void end_limit(const thread_submission& submission, std::uint32_t item, std::uint32_t attempt);
  void add_limit(std::chrono::steady_clock::time_point when, limit what);
  void ask_all_of(thread_submission& submission);
  /// False: the attempt is over.
  bool ask_to_stop(thread_submission& submission, std::uint32_t item, std::uint32_t attempt);
  void keep_time();
  void reach(limit& what);
  [[nodiscard]] std::chrono::milliseconds grace_of(const thread_submission& submission) const;
  std::vector<std::shared_ptr<thread_submission>> running_submissions();

  const std::int64_t process_;
  thread_pool_options options_;
  options_ptr task_defaults_;
  std::shared_ptr<callback_runner> callbacks_;

  // What is written for every task, in two cache lines.
  alignas(64) std::mutex mutex_;
  std::atomic<std::uint64_t> queued_{0};
  std::uint64_t submitted_ = 0;    // guarded by mutex_
  std::uint64_t next_number_ = 1;  // guarded by mutex_
  std::vector<lane> lanes_;        // guarded by mutex_; the highest priority first
  std::uint64_t looking_ = 0;      // guarded by mutex_; workers that look before they sleep
  bool waking_ = false;            // guarded by mutex_; an idle worker is on its way
  bool closing_ = false;           // guarded by mutex_
  bool terminated_ = false;        // guarded by mutex_
  std::vector<worker*> idle_;      // guarded by mutex_; they sleep at their bells

  std::vector<std::unique_ptr<worker>> workers_;  // guarded by mutex_
  std::vector<bool> places_;                      // guarded by mutex_; numbers in names
  std::map<std::string, worker*> bound_;          // guarded by mutex_; affinity keys
  waiting_line line_;                             // of those who wait for room without a thread
  std::condition_variable room_;  // with mutex_: the queue got shorter, or the pool closed
  std::condition_variable life_;  // with mutex_: a worker came up or left
  std::vector<worker*> lenders_;  // guarded by mutex_; wait in a task, and nothing was queued
  int alive_ = 0;                 // guarded by mutex_; workers that may still touch this
  int working_ = 0;               // guarded by mutex_; workers that have not begun to leave
  int staying_ = 0;               // guarded by mutex_; those of them that will not soon
  int ready_ = 0;                 // guarded by mutex_; those of them that are initialized
  int wanted_ = 0;                // guarded by mutex_; how many should stay
  int least_ = 0;                 // guarded by mutex_; bounds for wanted_
  std::atomic<int> most_{0};      // written with mutex_
  std::multiset<std::shared_ptr<thread_submission>>
      pending_retries_;  // guarded by mutex_; one for each item
  /// Submissions whose predicate runs, and on which thread.
  std::vector<std::pair<const thread_submission*, std::thread::id>> asking_;  // guarded by mutex_
  std::vector<map_watch> map_watches_;                                        // guarded by mutex_
  bool idle_watched_ = false;          // guarded by mutex_; the timekeeper will look at them
  std::uint64_t next_worker_ = 1;      // guarded by mutex_
  std::uint64_t past_succeeded_ = 0;   // guarded by mutex_; by workers that have left
  int initialized_ = 0;                // guarded by mutex_
  std::exception_ptr start_problem_;   // guarded by mutex_
  std::atomic<int> blocked_{0};        // submitters that wait for room
  std::atomic<int> urgency_{INT_MIN};  // the priority of what is first in the queue

  alignas(64) std::atomic<std::uint64_t> failed_{0};
  std::atomic<std::uint64_t> cancelled_{0};
  std::atomic<std::uint64_t> retried_{0};

  std::mutex control_;
  std::condition_variable time_;                                        // with control_
  std::multimap<std::chrono::steady_clock::time_point, limit> limits_;  // guarded by control_
  bool keeping_time_ = false;                // guarded by control_; there is a timekeeper
  bool time_is_over_ = false;                // guarded by control_
  bool all_must_stop_ = false;               // guarded by control_
  std::vector<std::thread::id> concluding_;  // guarded by control_; one for each `concluding`
  std::condition_variable concluded_;        // with control_: there is one fewer
};

/// The core whose tasks fulfil this future; null: none.
const thread_core* owner_of(const future_state& state) noexcept;

/// A worker as its core knows it, and the help its thread gives while it waits.
class thread_core::worker final : public wait_helper {
 public:
  worker(thread_core& owner, int place, std::uint64_t number);
  ~worker() override;
  void wait_for(const future_state& awaited) override;
  /// With the core's mutex_ held.
  void stopped_running(const thread_submission& submission);
  void sleep(std::uint32_t seen, const deadline& until);
  void note_busy();
  /// With the core's mutex_ held: something waits that only this one may take.
  [[nodiscard]] bool anything_for_me() const;

  thread_core& core;
  int index;              ///< in its thread's name; may be used again
  std::uint64_t id;       ///< never used again
  std::vector<lane> own;  // guarded by the core's mutex_: only it may take these
  std::chrono::steady_clock::time_point idle_since{};  // guarded by the core's mutex_
  std::atomic<std::int64_t> thread_id{0};
  std::vector<thread_submission*> running;  // guarded by the core's mutex_; the innermost last
  bool expected = false;  // guarded by the core's mutex_: it was woken and is not there yet
  bool idle = false;      // guarded by the core's mutex_: it is in idle_
  bool looking = false;   // its own: counted in looking_
  bool leaving = false;   // guarded by the core's mutex_: takes nothing more
  bool present = false;   // guarded by the core's mutex_: initialized, and not gone
  int depth = 0;          // its own: tasks on its stack
  std::unique_ptr<worker_loop> loop;  // its own; made with its first coroutine
  std::shared_ptr<worker_bell> bell = std::make_shared<worker_bell>();
  alignas(64) std::atomic<std::uint64_t> succeeded{0};
  std::atomic<std::uint32_t> busy{0};
  std::atomic<bool> free{true};       // would take another task at once; set false by who takes
  std::atomic<int> urgency{INT_MIN};  // the priority of what is first in `own`
};

/// The engine behind a handle of `troupe::thread_pool`.
[[nodiscard]] inline thread_core& thread_core_of(const engine_ptr& pool) noexcept {
  return static_cast<thread_core&>(*pool);
}

}  // namespace troupe::detail
