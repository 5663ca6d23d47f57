// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/future.hpp"

#include <functional>
#include <memory>
#include <utility>

namespace troupe {
namespace detail {

struct submission_access;

/// A place in the line of submissions that wait for room in a full queue without a thread.
class room_turn;
/// Calls `notify` once it is worth trying: perhaps at once, on any thread; it must not block.
void wait_turn(const std::shared_ptr<room_turn>& turn, std::function<void()> notify);
/// The same on the thread of the pool's callbacks, where `notify` may block.
void wait_turn_on_callbacks(const std::shared_ptr<room_turn>& turn, std::function<void()> notify);
/// The submission was let in.
void took_turn(room_turn& turn) noexcept;
/// The submission gives its place up, as the destructor of the turn does.
void leave_turn(room_turn& turn) noexcept;

}  // namespace detail

/// A task that waits to be let into its pool: what `co_apply_async` returns.
///
/// It is awaited once: `future<R> f = co_await s` in any coroutine that takes foreign awaitables
/// (troupe/await.hpp), `co_await as_awaitable(std::move(s))` in Asio's, tasks among them
/// (troupe/task.hpp). If it is destroyed before that, the task is never submitted.
///
/// @blocks no.
/// @threads one at a time.
/// @crosses no.
/// @worker_dies nothing of it is with a worker yet; afterwards as future.
/// @throws when it is awaited pool_closed; pool_broken.
template <class R>
class [[nodiscard]] submission {
 public:
  /// The other one may only be destroyed then.
  submission(submission&&) noexcept = default;
  submission& operator=(submission&&) = delete;

 private:
  friend struct detail::submission_access;
  using attempt = std::function<std::shared_ptr<detail::future_state>()>;
  using turn_maker = std::function<std::shared_ptr<detail::room_turn>()>;
  using taker = future<R> (*)(std::shared_ptr<detail::future_state>);
  submission(attempt submit, turn_maker make_turn, taker take)
      : attempt_{std::move(submit)}, make_turn_{std::move(make_turn)}, take_{take} {}

  attempt attempt_;
  turn_maker make_turn_;
  taker take_;
  std::shared_ptr<detail::future_state> state_;
  std::shared_ptr<detail::room_turn> turn_;
};

namespace detail {

struct submission_access {
  /// A submission of which `submit` gives null while the queue is full.
  template <class R>
  static submission<R> make(std::function<std::shared_ptr<future_state>()> submit,
                            std::function<std::shared_ptr<room_turn>()> make_turn,
                            future<R> (*take)(std::shared_ptr<future_state>)) {
    return {std::move(submit), std::move(make_turn), take};
  }
  /// False: the queue is full, wait for `turn`.
  ///
  /// @throws what a submission throws.
  template <class R>
  static bool try_submit(submission<R>& what) {
    what.state_ = what.attempt_();
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
      what.turn_ = what.make_turn_();
    }
    return what.turn_;
  }
  template <class R>
  static future<R> take(submission<R>& what) {
    return what.take_(std::move(what.state_));
  }
};

}  // namespace detail
}  // namespace troupe
