// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/pool_core.hpp"
#include "troupe/future.hpp"

#include <memory>
#include <utility>

namespace troupe {
namespace detail {
struct submission_access;
}  // namespace detail

/// A task that is encoded and waits to be let into its pool: what `pool::co_apply_async` returns.
///
/// To be awaited, once: `future<R> f = co_await s` in any coroutine that takes foreign awaitables
/// (troupe/await.hpp), `co_await as_awaitable(std::move(s))` in Asio's, tasks among them
/// (troupe/task.hpp). Destroyed before that, it was never submitted.
/// Threads: one at a time.    Crosses: no.
template <class R>
class [[nodiscard]] submission {
 public:
  submission(submission&&) noexcept = default;
  submission& operator=(submission&&) = delete;

 private:
  friend struct detail::submission_access;
  submission(detail::pool_ptr pool, detail::job_builder job, detail::options_ptr how)
      : pool_{std::move(pool)}, job_{std::move(job)}, how_{std::move(how)} {}

  detail::pool_ptr pool_;
  detail::job_builder job_;
  detail::options_ptr how_;
  std::shared_ptr<detail::future_state> state_;
  std::shared_ptr<detail::room_turn> turn_;
};

namespace detail {

struct submission_access {
  template <class R>
  static submission<R> make(pool_ptr pool, job_builder job, options_ptr how) {
    return {std::move(pool), std::move(job), std::move(how)};
  }
  /// False: the queue is full, wait for `turn`. Throws what a submission throws.
  template <class R>
  static bool try_submit(submission<R>& what) {
    what.state_ = detail::try_submit(what.pool_, std::move(what.job_), what.how_);
    if (!what.state_) {
      return false;
    }
    if (what.turn_) {
      took_turn(*what.turn_);
    }
    return true;
  }
  template <class R>
  static const std::shared_ptr<room_turn>& turn(submission<R>& what) {
    if (!what.turn_) {
      what.turn_ = make_turn(what.pool_);
    }
    return what.turn_;
  }
  template <class R>
  static future<R> take(submission<R>& what) {
    return future_access::one<R>(std::move(what.state_));
  }
};

}  // namespace detail
}  // namespace troupe
