// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/future.hpp"
#include "troupe/submission.hpp"

#include <coroutine>
#include <exception>
#include <utility>

// `co_await future`, for coroutines of any library but Asio, whose coroutines take no foreign
// awaitables: for those and for tasks there is `as_awaitable` in troupe/task.hpp.

namespace troupe {
namespace detail {

template <class T>
class future_awaiter {
 public:
  explicit future_awaiter(future<T> f) : future_{std::move(f)} {}
  [[nodiscard]] bool await_ready() const { return future_.ready(); }
  void await_suspend(std::coroutine_handle<> waiting) const {
    // Before the call returns this awaiter may be gone: it only touches the copy.
    const future<T> kept = future_;
    future_access::when_done(kept, [waiting](future_state&) { waiting.resume(); });
  }
  T await_resume() const { return future_access::take(future_); }

 private:
  future<T> future_;
};

template <class R>
class submission_awaiter {
 public:
  explicit submission_awaiter(submission<R>&& what) : what_{std::move(what)} {}
  [[nodiscard]] bool await_ready() { return submission_access::try_submit(what_); }
  void await_suspend(std::coroutine_handle<> waiting) {
    wait_turn_on_callbacks(submission_access::turn(what_), [this, waiting] {
      try {
        if (!submission_access::try_submit(what_)) {
          await_suspend(waiting);
          return;
        }
      } catch (...) {
        refused_ = std::current_exception();
      }
      waiting.resume();
    });
  }
  future<R> await_resume() {
    if (refused_) {
      std::rethrow_exception(refused_);
    }
    return submission_access::take(what_);
  }

 private:
  submission<R> what_;
  std::exception_ptr refused_;
};

}  // namespace detail

/// Waits without a thread: `T value = co_await f`, with the value or the exception of `get`.
///
/// The coroutine goes on at once if the future is ready, and otherwise on the thread that runs the
/// pool's callbacks: it holds them up until it waits for something else or ends.
///
/// @blocks no.
/// @worker_dies as future::get.
/// @throws as future::get.
template <class T>
[[nodiscard]] auto operator co_await(future<T> f) {
  return detail::future_awaiter<T>{std::move(f)};
}

/// Waits without a thread until the pool has room: `future<R> f = co_await
/// pool.co_apply_async(...)`. The coroutine goes on as above.
///
/// @blocks no.
/// @throws pool_closed; pool_broken.
template <class R>
[[nodiscard]] auto operator co_await(submission<R>&& what) {
  return detail::submission_awaiter<R>{std::move(what)};
}

}  // namespace troupe
