// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/open_map.hpp"
#include "troupe/detail/shutdown.hpp"
#include "troupe/detail/zip.hpp"
#include "troupe/future.hpp"
#include "troupe/pool.hpp"
#include "troupe/thread_pool.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

/// The options of every map, under the name that executors had for theirs until 0.2.
using executor_map_options = map_options;

/// How an executor ends: `ex.shutdown({.cancel_pending = true, .deadline = 5s})`.
struct shutdown_options {
  /// Drop what has not begun: those futures throw cancelled_error.
  bool cancel_pending = false;
  /// True: shutdown returns when all has ended and the workers are gone. False: at once.
  bool wait = true;
  /// How long what is left may take; not negative. Then, step by step, with the pool's grace time
  /// for each: what has not begun is dropped and running tasks are asked to stop (their
  /// stop_token); worker processes get SIGTERM; they get SIGKILL. Unset: as long as it takes.
  std::optional<std::chrono::milliseconds> deadline{};
};

/// What became of the tasks that were there when shutdown was called; without `.wait` what is known
/// when it returns.
struct shutdown_report {
  std::uint64_t drained = 0;             ///< ended by themselves: a value, or what they threw
  std::uint64_t cancelled = 0;           ///< dropped, or given up while they ran
  std::uint64_t terminated_workers = 0;  ///< processes that got SIGTERM
  std::uint64_t killed_workers = 0;      ///< processes that got SIGKILL
  /// True: no task and no worker is left. False: without `.wait`, or there are threads that did not
  /// stop.
  bool complete = false;
};

namespace detail {

/// Gives an executor access to what pools do not show: maps over several ranges, with a limit.
struct executor_access {
  template <class Pool>
  static const auto& core(const Pool& pool) {
    return pool.core();
  }

  template <class Self, class Kind, class F, class Zip>
  static auto map(map_calls<Self, Kind>& pool, F function, Zip zip, const map_options& how,
                  const deadline& until, open_maps& open) {
    using shape = typename Kind::template starred<F, typename Zip::value>;
    if constexpr (std::is_void_v<typename shape::result>) {
      pool.template run_map<shape>(std::move(function), zip, how, until);
    } else {
      return begun<Zip>(std::make_shared<map_results<Kind, shape, F, Zip>>(
                            pool.core(), std::move(function), std::move(zip),
                            map_settings{.map = how,
                                         .task = pool.options(),
                                         .ordered = true,
                                         .all_or_nothing = false,
                                         .streamed = true,
                                         .until = until,
                                         .run_unread = runs_whole<Zip>(how)}),
                        how, until, open);
    }
  }

 private:
  /// All items run, whether results are read or not.
  template <class Zip>
  static bool runs_whole(const map_options& how) {
    return !Zip::endless && how.window == 0;
  }

  template <class Zip, class Results>
  static auto begun(std::shared_ptr<Results> results, const map_options& how, const deadline& until,
                    open_maps& open) {
    if (Zip::all_sized && runs_whole<Zip>(how)) {
      results->pull_rest(until, true);
    } else {
      results->prefetch();
    }
    results->throw_if_refused();
    if (!Zip::all_sized && runs_whole<Zip>(how)) {
      open.add(results);
    }
    using range = std::conditional_t<Zip::endless, lazy_range<Results, typename Results::result>,
                                     pulled_range<Results, typename Results::result>>;
    return range{std::move(results)};
  }
};

/// The ways to submit, shared by an executor and by what its `with` returns.
template <class Self>
class executor_calls {
 public:
  /// Runs `function(args...)` in a worker. What may be passed, and what becomes of a failure, is as
  /// with `apply_async` of the pool below (pool, thread_pool).
  ///
  /// @follows Python's Executor.submit.
  /// @returns the task's future.
  /// @blocks only if `max_queued` tasks are waiting.
  /// @threads any, callbacks and tasks, too.
  /// @worker_dies the future throws worker_lost, or it runs again if `.retries` are left.
  /// @throws pool_closed after shutdown; pool_broken; encoding errors, before anything was sent.
  template <class F, class... Args>
  auto submit(F&& function, Args&&... args) {
    return target().apply_async(std::forward<F>(function), std::forward<Args>(args)...);
  }
  /// As submit, but never blocks.
  ///
  /// @returns nothing: `max_queued` tasks are waiting already.
  /// @throws as submit.
  template <class F, class... Args>
  [[nodiscard("nothing: the task was not taken")]] auto try_submit(F&& function, Args&&... args) {
    return target().try_apply_async(std::forward<F>(function), std::forward<Args>(args)...);
  }

  /// A range of `function(x, y, ...)` for the items of all ranges side by side, up to the end of
  /// the shortest: results in input order. All items run, whether the results are read or not.
  ///
  /// Ranges whose sizes are known (std::ranges::sized_range, all of them) are pulled and submitted
  /// before map returns. Others are pulled through a window: some items now, more as results are
  /// read, and the rest when `shutdown` is called (without `.cancel_pending`), when the scope of
  /// the executor ends, or when a range of which nothing was read is destroyed, on the thread that
  /// does it.
  ///
  /// With `.window` (Python's buffersize), and if no range has an end (its sentinel is
  /// std::unreachable_sentinel_t), map is lazy: items are pulled only as results are read. Those
  /// that were not pulled when the executor ends are dropped: pool_closed comes behind the results
  /// of the others. Give a `.window` where a range never ends and its type does not tell.
  ///
  /// Results may be read after the executor has ended, and after the system has. They wait in
  /// memory, and so do the arguments of items that have not begun: `.window` bounds both. The range
  /// is single pass: each begin() goes on where the last ended. An item's exception is thrown by
  /// `*` at its position. What pulling or submitting throws comes from begin() or ++ behind the
  /// results of all items before it; `*` then throws the same again, and ++ goes on.
  ///
  /// Inputs that are lvalues, and what views refer to, must live until they are pulled to the end,
  /// or else until the result is destroyed; rvalues are moved in. What the function refers to must
  /// live until the items have run: the end of the executor waits for them.
  ///
  /// If the range is destroyed early, after begin() or by an exception, what has not begun is
  /// cancelled. On threads what runs is asked to stop, and waited for, as by thread_pool::imap.
  ///
  /// @follows Python's Executor.map, except that it pulls ranges whose sizes are not known through
  ///   a window.
  /// @returns the range; a void function gives void, and is waited for here: what follows a failure
  ///   is cancelled.
  /// @blocks while `max_queued` tasks are waiting, in map and where the rest is pulled; on begin
  ///   and ++ until the next result is in.
  /// @threads any for map; one at a time for the range.
  /// @worker_dies only the item it was running fails, or is retried.
  /// @throws pool_closed, pool_broken and encoding errors of the function from map itself;
  ///   timeout_error instead of each result that is not there once `.timeout` has passed: what has
  ///   not begun is cancelled then; on threads what runs is asked to stop, in processes it goes on;
  ///   and results that are there can still be read with ++. error{no_state} from `*` at the end.
  template <class F, std::ranges::viewable_range Range, std::ranges::viewable_range... More>
  auto map(F function, Range&& range, More&&... more) {
    return map(map_options{}, std::move(function), std::forward<Range>(range),
               std::forward<More>(more)...);
  }
  /// The same with options: `ex.map({.chunk = 16, .timeout = 2s}, f, xs, ys)`.
  template <class F, std::ranges::viewable_range... Ranges>
    requires(sizeof...(Ranges) > 0)
  auto map(const map_options& how, F function, Ranges&&... ranges) {
    return executor_access::map(
        target(), std::move(function),
        zip_view<std::views::all_t<Ranges>...>{std::views::all(std::forward<Ranges>(ranges))...},
        how, detail::end_of(how), static_cast<Self*>(this)->open());
  }

 private:
  auto& target() { return static_cast<Self*>(this)->target_; }
};

template <class Pool>
struct options_of;
template <>
struct options_of<pool> {
  using type = pool_options;
};
template <>
struct options_of<thread_pool> {
  using type = thread_pool_options;
};

}  // namespace detail

template <class Pool>
class basic_executor;

/// An executor with options for what is submitted through it. May be used longer than the executor
/// exists: submissions throw pool_closed then.
///
/// @threads any, all members.
/// @crosses no.
/// @worker_dies as each member says.
template <class Pool>
class executor_with : public detail::executor_calls<executor_with<Pool>> {
 private:
  friend class basic_executor<Pool>;
  friend class detail::executor_calls<executor_with<Pool>>;
  using pool_with_options = decltype(std::declval<const Pool&>().with(task_options{}));
  executor_with(pool_with_options target, std::shared_ptr<detail::open_maps> open)
      : target_{std::move(target)}, open_{std::move(open)} {}
  detail::open_maps& open() { return *open_; }

  pool_with_options target_;
  std::shared_ptr<detail::open_maps> open_;
};

/// Runs functions in workers and lets its scope end only when they have ended.
///
/// The options are those of the pool below, pool_options or thread_pool_options, with their
/// defaults: usable_cpus() workers, no bound for the queue, 3 s of grace.
///
/// @follows Python's ProcessPoolExecutor and ThreadPoolExecutor used in a with-statement, except
///   that a scope left by an exception drops what has not begun instead of waiting for it, that a
///   worker's death fails one task and not all, and that shutdown has a deadline.
/// @blocks the constructor until the workers are ready; the destructor until all has ended.
/// @threads any, all members but the destructor.
/// @crosses no.
/// @worker_dies as pool: exactly the task it was running fails with worker_lost.
/// @throws as the pool's constructor.
template <class Pool>
class basic_executor : public detail::executor_calls<basic_executor<Pool>> {
 public:
  /// pool_options or thread_pool_options.
  using options = typename detail::options_of<Pool>::type;

  /// An executor with the default options.
  basic_executor() : basic_executor{options{}} {}
  /// An executor with workers as `how` says.
  explicit basic_executor(const options& how)
      : target_{how}, end_{detail::executor_access::core(target_)} {}
  /// An executor with so many workers, else with the default options.
  template <detail::worker_count Count>
  explicit basic_executor(Count workers)
      : basic_executor{options{.workers = detail::to_workers(workers)}} {}
  /// Every member of the other one but the destructor throws error{no_state} then.
  basic_executor(basic_executor&&) noexcept = default;
  basic_executor& operator=(basic_executor&&) = delete;
  /// As shutdown(), or as shutdown({.cancel_pending = true}) if an exception is leaving the scope.
  ~basic_executor() { end_.end(); }

  /// The same executor, with these options for what is submitted through the result. They replace
  /// `task_defaults` as a whole.
  ///
  /// @throws std::invalid_argument for options out of range.
  [[nodiscard]] executor_with<Pool> with(const task_options& how) const {
    return executor_with<Pool>{target_.with(how), end_.open()};
  }

  /// No new work; what is queued or running finishes, and the workers leave. May be called again,
  /// for example first without waiting. First the rest of every map that has one is pulled and
  /// submitted here, see map; not with `.cancel_pending`, and not longer than until the deadline.
  ///
  /// @follows Python's shutdown(wait, cancel_futures), with a deadline and a report.
  /// @blocks with `.wait` until all is done and all callbacks have run; without it while inputs of
  ///   maps are pulled.
  /// @throws error{would_deadlock} from a task of a thread pool that would wait for itself;
  ///   std::invalid_argument for a negative deadline; pool_closed in a forked child.
  shutdown_report shutdown(const shutdown_options& how) { return end_.shutdown(how); }
  /// The same with the default options: waits for all there is, as long as it takes.
  shutdown_report shutdown() { return end_.shutdown({}); }

  /// Drops what is queued and ends the workers now: SIGTERM, after the grace time SIGKILL. Pending
  /// futures end with cancelled_error. Threads are asked to stop. Does not wait.
  ///
  /// @follows Python 3.14's ProcessPoolExecutor.terminate_workers.
  void terminate_workers() { end_.terminate_workers(); }
  /// The same with SIGKILL at once. Of threads the futures end at once; they themselves go on until
  /// their task returns.
  void kill_workers() { end_.kill_workers(); }

  /// As `workers` of the pool below.
  [[nodiscard]] std::vector<worker_info> workers() const { return target_.workers(); }
  /// As `stats` of the pool below.
  [[nodiscard]] pool_stats stats() const { return target_.stats(); }

 private:
  friend class detail::executor_calls<basic_executor<Pool>>;
  detail::open_maps& open() { return *end_.open(); }

  Pool target_;
  detail::executor_end end_;
};

/// Functions in worker processes; see pool.
using process_pool_executor = basic_executor<pool>;
/// Functions in worker threads; see thread_pool.
using thread_pool_executor = basic_executor<thread_pool>;

}  // namespace troupe
