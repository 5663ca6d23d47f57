// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/codec.hpp"
#include "troupe/detail/encoded_future.hpp"
#include "troupe/detail/map_range.hpp"
#include "troupe/future.hpp"
#include "troupe/pool_options.hpp"
#include "troupe/submission.hpp"
#include "troupe/system.hpp"
#include "troupe/this_task.hpp"

#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {
namespace detail {

/// The ways to submit, shared by a pool and by what `with` returns.
template <class Self>
class submissions : public map_calls<Self, process_maps> {
 public:
  /// Runs `function(args...)` in a worker and waits for its result.
  ///
  /// @follows Python's Pool.apply.
  /// @blocks until there is an outcome.
  /// @throws as apply_async and future::get.
  template <class F, class... Args>
  task_result_t<F, Args...> apply(F function, const Args&... args) {
    return apply_async(std::move(function), args...).get();
  }

  /// Encodes the call in the calling thread and sends it to a worker. Arguments, and items of maps,
  /// become the function's parameter types there by the conversions of any C++ call: a double for a
  /// parameter of int loses its fraction.
  ///
  /// @follows Python's Pool.apply_async; callbacks are the future's.
  /// @returns the task's future.
  /// @blocks only if `max_queued` tasks are waiting.
  /// @threads any, callbacks too.
  /// @worker_dies the future throws worker_lost, or it runs again if `.retries` are left.
  /// @throws error{argument_encode_failed} or error{payload_too_large}, before anything was sent;
  ///   pool_closed; pool_broken.
  template <class F, class... Args>
  [[nodiscard("the future: it alone tells how the task ended")]]
  future<task_result_t<F, Args...>> apply_async(F function, const Args&... args) {
    return encoded_future<task_result_t<F, Args...>>(
        submit(core(), encode_call(function, args...), options()));
  }

  /// As apply_async, but never blocks.
  ///
  /// @returns nothing: `max_queued` tasks are waiting already.
  /// @throws as apply_async.
  template <class F, class... Args>
  [[nodiscard("nothing: the task was not taken")]]
  std::optional<future<task_result_t<F, Args...>>> try_apply_async(F function,
                                                                   const Args&... args) {
    auto state = try_submit(core(), encode_call(function, args...), options());
    if (!state) {
      return std::nullopt;
    }
    return encoded_future<task_result_t<F, Args...>>(std::move(state));
  }

  /// As apply_async, for coroutines: `future<R> f = co_await pool.co_apply_async(function,
  /// args...)` waits without a thread while `max_queued` tasks are waiting. The call is encoded
  /// now; see submission.
  ///
  /// @blocks no.
  /// @throws encoding errors; what the pool refuses is thrown by `co_await`.
  template <class F, class... Args>
  submission<task_result_t<F, Args...>> co_apply_async(F function, const Args&... args) {
    using result = task_result_t<F, Args...>;
    // Shared, as std::function wants what can be copied; it never is.
    auto encoded = std::make_shared<submission_builder>(encode_call(function, args...));
    return submission_access::make<result>(
        [pool = core(), encoded = std::move(encoded), how = options()] {
          return try_submit(pool, std::move(*encoded), how);
        },
        [pool = core()] { return make_turn(pool); },
        [](std::shared_ptr<future_state> state) {
          return encoded_future<result>(std::move(state));
        });
  }

 private:
  friend struct executor_access;
  using maps = map_calls<Self, process_maps>;
  using maps::core;
  using maps::options;

  template <class F, class... Args>
  submission_builder encode_call(const F& function, const Args&... args) {
    submission_builder submission{core()};
    if constexpr (std::is_void_v<task_refusal<F, Args...>>) {
      submission.callable(
          [&](byte_sink& sink) { encode_task_callable<F, Args...>(sink, function); });
      submission.item([&](byte_sink& sink) { encode_task_arguments<F, Args...>(sink, args...); });
    }
    return submission;
  }
};

}  // namespace detail

/// A pool with options for what is submitted through it: `pool.with({.retries = 1})`. May be used
/// longer than the pool exists: submissions throw pool_closed then.
///
/// @threads any, all members.
/// @crosses no.
/// @worker_dies as each member says.
class pool_with : public detail::submissions<pool_with> {
 private:
  friend class pool;
  friend class detail::submissions<pool_with>;
  friend class detail::map_calls<pool_with, detail::process_maps>;
  pool_with(detail::engine_ptr core, const task_options& options)
      : core_{std::move(core)}, options_{detail::share_options(options)} {}
  [[nodiscard]] const detail::options_ptr& current_options() const { return options_; }

  detail::engine_ptr core_;
  detail::options_ptr options_;
};

/// Worker processes that run functions, each task with exactly one outcome, no matter what dies.
///
/// @follows Python's Pool, and unlike it: a worker's death fails exactly the task it was running
///   (worker_lost) and the worker is replaced; everything pending ends at terminate.
/// @blocks the constructor until the workers are there and their initializers are done.
/// @threads any, all members but the destructor.
/// @crosses no.
/// @worker_dies see the members; more than `restart.intensity` deaths in `restart.period` and the
///   pool is broken: every pending future and every later submission throws pool_broken.
/// @throws not_bootstrapped without a troupe::system in main; std::invalid_argument for options out
///   of range, before anything was started; error{spawn_failed, resource_exhausted, start_timeout},
///   or the initializer's exception, and then nothing is left running.
class pool : public detail::submissions<pool> {
 public:
  /// A pool with the default options: usable_cpus() workers.
  pool() : pool{pool_options{}} {}
  /// A pool with workers as `options` says.
  explicit pool(const pool_options& options) : core_{detail::make_pool(options)} {}
  /// A pool of so many processes, else with the default options.
  template <detail::worker_count Count>
  explicit pool(Count workers) : pool{pool_options{.workers = detail::to_workers(workers)}} {}
  /// Every member of the other one but the destructor throws error{no_state} then.
  pool(pool&&) noexcept = default;
  pool& operator=(pool&&) = delete;
  /// Without close and join before it: as terminate, with a warning (`set_log_hook`) that says how
  /// many tasks had not begun.
  ///
  /// @blocks until the workers are gone and all callbacks have run: about the grace time at most,
  ///   unless a callback takes longer.
  ~pool() { detail::end_pool(core_); }

  /// The same pool, with these options for what is submitted through the result. They replace
  /// `task_defaults` as a whole.
  ///
  /// @throws std::invalid_argument for options out of range.
  [[nodiscard]] pool_with with(const task_options& options) const { return {core_, options}; }

  /// No new work; what is queued or running finishes, then the workers leave. Does not wait.
  void close() { detail::close(core_); }
  /// Waits for the end that close or terminate has begun.
  ///
  /// @blocks until all is done, all callbacks have run and all workers are gone.
  /// @throws std::logic_error before close or terminate, as Python does.
  void join() { detail::join(core_); }
  /// Drops what is queued (those futures throw cancelled_error), and ends the workers: SIGTERM,
  /// after the grace time SIGKILL. Does not wait.
  void terminate() { detail::terminate(core_); }

  /// Sets the number of worker processes, also of an elastic pool, which is elastic no more: starts
  /// what is missing, or lets those that have the least to do finish their task and go. Does not
  /// wait.
  ///
  /// @throws std::invalid_argument unless 1 to 4096; pool_closed; pool_broken.
  void resize(int workers) { detail::resize(core_, workers); }

  /// Workers that are ready at this moment.
  ///
  /// @blocks for a moment, until the supervisor has looked.
  [[nodiscard]] std::vector<worker_info> workers() const { return detail::workers_of(core_); }
  /// Counts of this moment; costs the pool nothing. Never blocks.
  [[nodiscard]] pool_stats stats() const { return detail::stats_of(core_); }

 private:
  friend class detail::submissions<pool>;
  friend class detail::map_calls<pool, detail::process_maps>;
  [[nodiscard]] const detail::options_ptr& current_options() const {
    return detail::defaults_of(core_);
  }

  detail::engine_ptr core_;
};

}  // namespace troupe
