// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/thread_pool.hpp"

#include "futures/callback_runner.hpp"
#include "futures/made_here.hpp"
#include "pools/engine.hpp"
#include "pools/thread/state/attempt_book.hpp"
#include "pools/thread/state/concluding_threads.hpp"
#include "pools/thread/task_outcomes.hpp"
#include "pools/thread/thread_crew.hpp"
#include "pools/thread/thread_retries.hpp"
#include "pools/thread/thread_scheduler.hpp"
#include "pools/thread/timekeeper.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace troupe::detail {

/// The engine of a thread pool. Owns the parts that each decide one thing; they reach each other
/// through it. Its workers' threads, its submissions and the handles keep it alive.
///
///   submit ──▶ thread_scheduler ◀── next ── thread_worker (one a thread: thread_crew)
///                                               │ conclude
///   timekeeper (a thread) ── what is due ──▶ task_outcomes ──▶ futures, callbacks
///                                               │
///                 attempt_book: stop requests, attempts, failures      thread_retries
///
/// Crew and scheduler have one lock. A thread holds one lock of the parts at a time, and none while
/// code of the user runs. While it holds one it may take those that take no other: of
/// `concluding_threads` and of `waiting_line`.
class thread_core final : public engine, public std::enable_shared_from_this<thread_core> {
 public:
  explicit thread_core(const thread_pool_options& options);
  ~thread_core() override;
  thread_core(const thread_core&) = delete;
  thread_core& operator=(const thread_core&) = delete;

  /// Starts the workers and runs their initializers; throws what one of those throws.
  void start();
  bool submit(std::shared_ptr<thread_submission> submission, bool may_block, const deadline& until);
  bool cancel(thread_submission& which, bool force);
  void close() override { scheduler_.close(); }
  void join() override;
  bool join_until(const deadline& until) override;
  void terminate() override { terminate(options_.grace); }
  void kill() override { terminate(std::chrono::milliseconds{0}); }
  void end() noexcept override;
  void cancel_waiting() override { cancel_waiting(" was shut down before it began"); }
  void ask_all_to_stop() override;
  void resize(int workers) override;
  std::shared_ptr<room_turn> make_turn() override { return scheduler_.make_turn(); }
  std::vector<worker_info> workers() override;
  pool_stats stats() override;
  [[nodiscard]] child_status seen() const override;
  [[nodiscard]] const options_ptr& task_defaults() const noexcept override {
    return task_defaults_;
  }
  [[nodiscard]] std::chrono::milliseconds grace() const noexcept override { return options_.grace; }
  [[nodiscard]] std::string title() const override { return "thread pool '" + options_.name + "'"; }
  [[nodiscard]] bool in_own_task() const noexcept override;
  [[nodiscard]] bool can_wait() const noexcept override { return is_of_this_process(); }

  /// False in a forked child, where its threads do not exist.
  [[nodiscard]] bool is_of_this_process() const noexcept;
  /// Blocks until no item of the map runs but those on the calling thread's own stack. The caller
  /// has seen to it that none begins any more.
  void wait_until_nothing_runs(const thread_group& map);
  /// The submission was asked to stop: its future ends after the grace time, or at once where no
  /// thread can be started that would wait for it.
  void give_up_after_grace(const std::shared_ptr<thread_submission>& which,
                           std::chrono::milliseconds grace);

  // Called by its parts.
  [[nodiscard]] const thread_pool_options& options() const noexcept { return options_; }
  /// How many tasks may be on workers at the same time.
  [[nodiscard]] int most_at_once() const noexcept { return crew_.most() * options_.concurrency; }
  [[nodiscard]] std::chrono::milliseconds grace_of(const thread_submission& submission) const {
    return submission.options().grace.value_or(options_.grace);
  }
  [[nodiscard]] const std::shared_ptr<callback_runner>& callbacks() const { return callbacks_; }
  [[nodiscard]] future_state::executor callback_executor();
  /// Of .retry_if: a callback may wait for a task about which one has to be asked.
  [[nodiscard]] const std::shared_ptr<callback_runner>& predicates() const { return predicates_; }
  /// Starts the thread of a worker.
  ///
  /// @throws std::system_error if no thread can be started.
  void start_worker(worker_seat& seat);
  [[nodiscard]] thread_crew& crew() noexcept { return crew_; }
  [[nodiscard]] thread_scheduler& scheduler() noexcept { return scheduler_; }
  [[nodiscard]] attempt_book& attempts() noexcept { return attempts_; }
  [[nodiscard]] timekeeper& time() noexcept { return time_; }
  [[nodiscard]] task_outcomes& outcomes() noexcept { return outcomes_; }
  [[nodiscard]] thread_retries& retries() noexcept { return retries_; }
  [[nodiscard]] concluding_threads& concluding() noexcept { return concluding_; }

 private:
  /// Starts the threads that a task with these options may need: no worker has to start one.
  ///
  /// @throws error{resource_exhausted}.
  void prepare(const task_options& how, bool repeats);
  void terminate(std::chrono::milliseconds grace);
  void cancel_waiting(const char* because);

  const std::int64_t process_;
  const thread_pool_options options_;
  const options_ptr task_defaults_;
  const std::shared_ptr<callback_runner> callbacks_ = std::make_shared<callback_runner>();
  const std::shared_ptr<callback_runner> predicates_ = std::make_shared<callback_runner>();
  thread_crew crew_;
  thread_scheduler scheduler_;
  attempt_book attempts_;
  timekeeper time_{*this};
  task_outcomes outcomes_{*this};
  thread_retries retries_{*this};
  concluding_threads concluding_;
  std::atomic<bool> up_{false};  // its initializers are done
};

/// Makes a thread pool for a parent: it is no child of the root.
engine_ptr make_thread_pool_for_parent(const thread_pool_options& options);

/// The engine behind a handle of `troupe::thread_pool`.
[[nodiscard]] inline thread_core& thread_core_of(const engine_ptr& pool) noexcept {
  return static_cast<thread_core&>(*pool);
}

}  // namespace troupe::detail
