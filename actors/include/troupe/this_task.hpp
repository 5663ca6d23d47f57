// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/detail/encoded_future.hpp"
#include "troupe/detail/pool_core.hpp"
#include "troupe/detail/this_task_functions.hpp"  // IWYU pragma: export
#include "troupe/future.hpp"

#include <memory>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

namespace detail {
/// A submission by the task that this worker runs, to the pool that it belongs to.
///
/// @throws error{wrong_state} outside of such a task.
submission_builder nested_builder();
std::shared_ptr<future_state> submit_nested(submission_builder&& submission);
}  // namespace detail

/// The pool that the running task belongs to: what `this_task::pool` returns.
///
/// A task may wait for tasks of its own pool. While it has some, nothing else is sent to its
/// worker, and where no worker is left for what waits, the pool starts one more, which goes again
/// when it is not needed any more: there is no deadlock. At most 64 more are started: then a
/// submission from a worker that has none yet fails with error{would_deadlock}. Tasks of tasks go
/// before all that waits for a worker, whatever its priority, but not before the short tasks that
/// a worker was sent ahead; while as many tasks wait for tasks of
/// their own as the pool has workers, no further ones of the same depth begin.
///
/// @blocks no member but `apply` and `map`.
/// @threads only the task's own may submit; the futures are as any other.
/// @crosses no.
/// @worker_dies what its task had submitted is cancelled if it has not begun; a retry submits
///   again.
class own_pool {
 public:
  /// As pool::apply_async with the pool's default options. Whether the pool takes the task is told
  /// only by the future: it may throw cancelled_error if the pool was terminated, pool_broken or
  /// error{would_deadlock}.
  ///
  /// @blocks no.
  /// @worker_dies as pool::apply_async.
  /// @throws error{wrong_state} on another thread than the task's; encoding errors, before anything
  ///   was sent; pool_closed if the pool is gone.
  template <class F, class... Args>
  [[nodiscard("the future: it alone tells how the task ended")]]
  future<detail::task_result_t<F, Args...>> apply_async(F function, const Args&... args) const {
    detail::submission_builder submission = detail::nested_builder();
    if constexpr (std::is_void_v<detail::task_refusal<F, Args...>>) {
      submission.callable([&](detail::byte_sink& sink) {
        detail::encode_task_callable<F, Args...>(sink, function);
      });
      submission.item([&](detail::byte_sink& sink) {
        detail::encode_task_arguments<F, Args...>(sink, args...);
      });
    }
    return detail::encoded_future<detail::task_result_t<F, Args...>>(
        detail::submit_nested(std::move(submission)));
  }

  /// Submits a task as apply_async, and waits for its result.
  ///
  /// @blocks until there is an outcome.
  /// @throws as apply_async and future::get.
  template <class F, class... Args>
  detail::task_result_t<F, Args...> apply(F function, const Args&... args) const {
    return apply_async(std::move(function), args...).get();
  }

  /// Submits a task for every item, and waits for the results.
  ///
  /// @returns n items give n results in input order; a void function gives void.
  /// @blocks until every result is in.
  /// @worker_dies only the item it was running fails, or is retried.
  /// @throws as apply_async; the failure of the first failed item in input order; the others go on.
  template <class F, std::ranges::input_range Range>
  auto map(F function, Range&& range) const {
    using result = detail::task_result_t<F, std::ranges::range_value_t<Range>>;
    std::vector<future<result>> all;
    for (auto&& item : range) {
      all.push_back(apply_async(function, item));
    }
    if constexpr (std::is_void_v<result>) {
      for (const auto& one : all) {
        one.get();
      }
    } else {
      std::vector<result> results;
      results.reserve(all.size());
      for (const auto& one : all) {
        results.push_back(one.get());
      }
      return results;
    }
  }
};

namespace this_task {

/// The pool that the calling task belongs to.
///
/// @blocks no.
/// @threads only the task's own.
/// @throws error{wrong_state} outside of a task of a pool of processes, and on another thread than
///   the task's.
[[nodiscard]] own_pool pool();

}  // namespace this_task
}  // namespace troupe
