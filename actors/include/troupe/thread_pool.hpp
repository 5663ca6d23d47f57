// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/local_map.hpp"
#include "troupe/detail/this_task_functions.hpp"
#include "troupe/future.hpp"
#include "troupe/submission.hpp"
#include "troupe/task_options.hpp"
#include "troupe/this_process.hpp"

#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

/// How a thread pool is made: `troupe::thread_pool threads{{.workers = 4}};`
struct thread_pool_options {
  /// Worker threads, 1 to 4096; unless `min_workers` or `max_workers` is given.
  int workers = usable_cpus();
  /// Tasks that one worker has begun at the same time, 1 to 65536, as pool_options has it: what a
  /// coroutine (troupe/task.hpp) waits for leaves its worker to others.
  int concurrency = 1;
  /// Runs once in every worker thread before its first task; may capture. If it throws, the pool's
  /// constructor throws that exception.
  std::function<void()> initializer{};
  /// With this or `max_workers` the pool is elastic, as pool_options has it: it starts with
  /// `min_workers` (unset: 1), starts more up to `max_workers` (unset: `workers`) while tasks wait
  /// and all are busy, and lets go of those that had nothing to do for `idle_timeout`.
  std::optional<int> min_workers{};
  /// The most workers of an elastic pool, see `min_workers`.
  std::optional<int> max_workers{};
  /// How long a worker of an elastic pool stays without work, see `min_workers`.
  std::chrono::milliseconds idle_timeout{10'000};
  /// Tasks that may wait in the pool before a submission blocks; 0: no bound.
  std::size_t max_queued = 0;
  /// The options of what is submitted to the pool itself, not through `with`.
  task_options task_defaults{};
  /// What error texts call the pool; the threads are called `name_0`, `name_1`, ...
  std::string name = "threads";
  /// Time between asking a task to stop and giving up its outcome.
  std::chrono::milliseconds grace{3'000};
};

namespace detail {

/// The ways to submit, shared by a thread pool and by what `with` returns.
template <class Self>
class local_submissions : public map_calls<Self, thread_maps> {
 public:
  /// Runs `function(args...)` in a worker thread and waits for its result.
  ///
  /// @follows Python's ThreadPool.apply.
  /// @blocks until there is an outcome; in a task of the same pool, the worker may run the call.
  /// @throws as apply_async and future::get.
  template <class F, class... Args>
  auto apply(F&& function, Args&&... args) {
    return apply_async(std::forward<F>(function), std::forward<Args>(args)...).get();
  }

  /// Hands the call to a worker thread. The function and its arguments are moved or copied into the
  /// task, as for std::thread (so `std::ref` passes a reference), and may be move-only.
  ///
  /// @follows Python's ThreadPool.apply_async; callbacks are the future's.
  /// @returns the task's future.
  /// @blocks only if `max_queued` tasks are waiting; in a task of the same pool, others run
  ///   meanwhile.
  /// @threads any, callbacks and tasks, too.
  /// @throws pool_closed; std::invalid_argument if `.retry_if` needs arguments that cannot be kept;
  ///   error{would_deadlock} in a task that waits for room 64 tasks deep; error{resource_exhausted}
  ///   if no thread can be started for limits of time or retries; what copying the arguments
  ///   throws.
  template <class F, class... Args>
  [[nodiscard("the future: it alone tells how the task ended")]]
  auto apply_async(F&& function, Args&&... args) {
    return *run_one(true, std::forward<F>(function), std::forward<Args>(args)...);
  }

  /// As apply_async, but never blocks.
  ///
  /// @returns nothing: `max_queued` tasks are waiting already. What was moved in is gone then.
  /// @throws as apply_async.
  template <class F, class... Args>
  [[nodiscard("nothing: the task was not taken")]] auto try_apply_async(F&& function,
                                                                        Args&&... args) {
    return run_one(false, std::forward<F>(function), std::forward<Args>(args)...);
  }

  /// As apply_async, for coroutines: `future<R> f = co_await threads.co_apply_async(function,
  /// args...)` waits without a thread while `max_queued` tasks are waiting; see submission.
  ///
  /// @blocks no.
  /// @throws what copying the arguments throws; what the pool refuses is thrown by `co_await`.
  template <class F, class... Args>
  auto co_apply_async(F&& function, Args&&... args) {
    using made_for = local_call<std::decay_t<F>, std::decay_t<Args>...>;
    using result = typename made_for::result;
    if constexpr (made_for::ok) {
      auto made = std::make_shared<typename made_for::task>(
          core(), options(), std::forward<F>(function), std::forward<Args>(args)...);
      return submission_access::make<result>(
          [pool = core(), made = std::move(made)]() -> std::shared_ptr<future_state> {
            return submit(pool, made, false) ? made : nullptr;
          },
          [pool = core()] { return make_turn(pool); },
          [](std::shared_ptr<future_state> state) {
            return future_access::local<result>(std::move(state), &made_for::task::value);
          });
    } else {
      return submission_access::make<result>(nullptr, nullptr, nullptr);
    }
  }

 private:
  friend struct executor_access;
  using maps = map_calls<Self, thread_maps>;
  using maps::core;
  using maps::options;

  template <class F, class... Args>
  auto run_one(bool may_block, F&& function, Args&&... args) {
    using made_for = local_call<std::decay_t<F>, std::decay_t<Args>...>;
    using result = typename made_for::result;
    std::optional<future<result>> answer;
    if constexpr (made_for::ok) {
      using task = typename made_for::task;
      auto made = std::make_shared<task>(core(), options(), std::forward<F>(function),
                                         std::forward<Args>(args)...);
      answer.emplace(future_access::local<result>(made, &task::value));
      if (!submit(core(), std::move(made), may_block)) {
        answer.reset();
      }
    }
    return answer;
  }
};

}  // namespace detail

/// A thread pool with options for what is submitted through it. May be used longer than the pool
/// exists: submissions throw pool_closed then.
///
/// @threads any, all members.
/// @crosses no.
/// @worker_dies as with thread_pool.
class thread_pool_with : public detail::local_submissions<thread_pool_with> {
 private:
  friend class thread_pool;
  friend class detail::local_submissions<thread_pool_with>;
  friend class detail::map_calls<thread_pool_with, detail::thread_maps>;
  thread_pool_with(detail::engine_ptr core, const task_options& options)
      : core_{std::move(core)}, options_{detail::share_options(options)} {}
  [[nodiscard]] const detail::options_ptr& current_options() const { return options_; }

  detail::engine_ptr core_;
  detail::options_ptr options_;
};

/// Worker threads that run functions: the members of `pool` without its processes.
///
/// Nothing is serialized: functions may capture, arguments and results may be anything that moves,
/// exceptions arrive as the objects that were thrown. The futures are the same `future<T>`.
///
/// A thread cannot be killed. `cancel()`, `.timeout` and `terminate` ask by
/// `this_task::stop_token()`; after the grace time a `.timeout` or `cancel(force)` ends the future
/// (timeout_error, cancelled_error) while the task goes on, keeps its worker busy, and its outcome
/// is dropped.
///
/// No worker dies, so `.retries` need a `.retry_if`; arguments are then kept for the next attempt,
/// and if one cannot be (troupe/retry.hpp) the submission throws std::invalid_argument. What
/// does not stop in time is not tried again.
///
/// Tasks may submit to their own pool and wait there: whatever form the wait has (get, wait,
/// troupe::wait, as_completed, when_all, then, the results of a map), the worker runs what is
/// waited for if no other has begun it, and no other task. So no task lies below one that waits for
/// it, and a wait goes on as soon as its future is done. Where all workers wait, and tasks of
/// another pool, callbacks or keys of .affinity need a task that none of them may run so, or where
/// tasks wait 64 deep in one thread, the pool runs it on a further thread, with the initializer, up
/// to 64; that one leaves when nothing is needed. Where a task waits for itself, through others or
/// not, or no further thread can be had, the wait throws error{would_deadlock}. Only for room in a
/// full queue, and while another thread pulls the input of the same map, a worker runs any task: one
/// that waits for the task below it ends so, too. Do not wait while holding a lock that other tasks
/// take.
///
/// It needs no troupe::system.
///
/// @follows Python's ThreadPool. Each worker is a thread.
/// @blocks the constructor until the initializers are done; the destructor until running tasks are.
/// @threads any, all members but the destructor.
/// @crosses no.
/// @worker_dies a task that ends the process by a signal or by exit ends all of it, as anywhere in
///   this process: use a pool for tasks that may crash.
/// @throws std::invalid_argument for options out of range; error{resource_exhausted} without
///   threads; the initializer's exception, and then nothing is left running.
class thread_pool : public detail::local_submissions<thread_pool> {
 public:
  /// A pool with the default options: usable_cpus() threads.
  thread_pool() : thread_pool{thread_pool_options{}} {}
  /// A pool with threads as `options` says.
  explicit thread_pool(const thread_pool_options& options)
      : core_{detail::make_thread_pool(options)} {}
  /// A pool of so many threads, else with the default options.
  template <detail::worker_count Count>
  explicit thread_pool(Count workers)
      : thread_pool{thread_pool_options{.workers = detail::to_workers(workers)}} {}
  /// Every member of the other one but the destructor throws error{no_state} then.
  thread_pool(thread_pool&&) noexcept = default;
  thread_pool& operator=(thread_pool&&) = delete;
  /// Without close and join before it: as terminate, with a warning (`set_log_hook`) that says how
  /// many tasks had not begun.
  ///
  /// @blocks until the running tasks have returned, however long they take, and all callbacks have
  ///   run.
  ~thread_pool() { detail::end_pool(core_); }

  /// The same pool, with these options for what is submitted through the result. They replace
  /// `task_defaults` as a whole.
  ///
  /// @throws std::invalid_argument for options out of range.
  [[nodiscard]] thread_pool_with with(const task_options& options) const {
    return {core_, options};
  }

  /// No new work; what is queued or running finishes, then the workers leave. Does not wait.
  void close() { detail::close(core_); }
  /// Waits for the end that close or terminate has begun.
  ///
  /// @blocks until all is done, all callbacks have run and all workers have left.
  /// @throws std::logic_error before close or terminate; error{would_deadlock} in a task of this
  ///   pool.
  void join() { detail::join(core_); }
  /// Drops what is queued (those futures throw cancelled_error), and asks what runs to stop; after
  /// the grace time the futures of what still runs end with cancelled_error too. Does not wait.
  void terminate() { detail::terminate(core_); }

  /// Sets the number of worker threads, also of an elastic pool, which is elastic no more: starts
  /// what is missing, or lets some finish their task and go. Does not wait. If the initializer of a
  /// new worker throws, that worker ends again.
  ///
  /// @throws std::invalid_argument unless 1 to 4096; pool_closed; error{resource_exhausted}.
  void resize(int workers) { detail::resize(core_, workers); }

  /// The worker threads of this moment; `pid` is the kernel's id of the thread.
  [[nodiscard]] std::vector<worker_info> workers() const { return detail::workers_of(core_); }
  /// Counts of this moment; `running` are tasks on workers, also those whose future has ended
  /// already.
  [[nodiscard]] pool_stats stats() const { return detail::stats_of(core_); }

 private:
  friend class detail::local_submissions<thread_pool>;
  friend class detail::map_calls<thread_pool, detail::thread_maps>;
  friend struct detail::executor_access;
  [[nodiscard]] const detail::options_ptr& current_options() const {
    return detail::defaults_of(core_);
  }

  detail::engine_ptr core_;
};

}  // namespace troupe
