// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/await.hpp"
#include "troupe/detail/clock.hpp"
#include "troupe/detail/coroutine_run.hpp"
#include "troupe/detail/nanoseconds.hpp"
#include "troupe/future.hpp"
#include "troupe/submission.hpp"

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

// Tasks that are coroutines. The only header that includes Asio.

namespace troupe {

/// A coroutine: what a function returns that uses `co_await` and ends with `co_return value`.
///
/// A pool runs it as any other function, and its future has the T. While it waits, its worker runs
/// other tasks, up to `pool_options::concurrency` at once. Its arguments live until it ends, also
/// where its parameters are references. It is an Asio coroutine: Asio's timers, sockets and signals
/// work in it, on `co_await asio::this_coro::executor`, and so do coroutines that it spawns there;
/// `this_task` speaks of its task wherever that executor runs something.
///
/// A stop request (cancel, `.timeout`, `.deadline`) is an Asio cancellation: what the coroutine
/// waits for ends with operation_aborted, and a task that ends with that was cancelled (or timed
/// out). The coroutine may catch that exception and go on. It is asked once; after the grace time
/// its worker is killed.
///
/// @follows Python's coroutines in asyncio.
/// @blocks a coroutine that computes, or blocks, keeps the others of its worker waiting.
/// @threads the worker's own for all of its coroutines.
/// @worker_dies all it had begun fails with worker_lost, or runs again if `.retries` are left.
template <class T>
using task = asio::awaitable<T>;

namespace detail {

/// Until the time is over by Asio's timers, or by the `coroutine_clock` of the thread.
task<void> sleep_during(std::chrono::nanoseconds time);
/// Returns when it is done; the cancellation of the coroutine cancels it.
task<void> await_end(std::shared_ptr<future_state> state);
/// Returns when it is worth trying again.
task<void> await_room(std::shared_ptr<room_turn> turn);

template <class T>
struct coroutine_traits<asio::awaitable<T>> {
  static constexpr bool is_coroutine = true;
  using result = T;

  /// Runs the coroutine to its end in a loop of its own; for a pool's initializer, where nothing
  /// else runs.
  template <class Make>
  static T run(const Make& make) {
    asio::io_context loop{1};
    with_own_numbers(loop);
    std::exception_ptr thrown;
    std::conditional_t<std::is_void_v<T>, bool, std::optional<T>> value{};
    asio::co_spawn(
        loop,
        [&]() -> asio::awaitable<void> {
          if constexpr (std::is_void_v<T>) {
            co_await make();
          } else {
            value.emplace(co_await make());
          }
        },
        [&](std::exception_ptr e) { thrown = std::move(e); });
    loop.run();
    if (thrown) {
      std::rethrow_exception(thrown);
    }
    if constexpr (!std::is_void_v<T>) {
      return std::move(*value);
    }
  }

  template <class Make, class Keep>
  static void begin(const std::shared_ptr<coroutine_run>& run, Make make, Keep keep) {
    asio::co_spawn(run->executor(), drive(run, std::move(make), std::move(keep)),
                   asio::bind_cancellation_slot(run->stop_slot(), [run](std::exception_ptr e) {
                     if (e) {
                       run->ended(task_stage::run, std::move(e));  // stopped before its first step
                     }
                   }));
  }

 private:
  // GCC takes the frame of a coroutine template with a lambda among its parameters for a type that
  // others could see, and warns about what they could not.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif
  template <class Make, class Keep>
  static asio::awaitable<void> drive(std::shared_ptr<coroutine_run> run, Make make, Keep keep) {
    task_stage stage = task_stage::run;
    std::exception_ptr thrown;
    try {
      if constexpr (std::is_void_v<T>) {
        co_await make();
        run->result();
      } else {
        T value = co_await make();
        stage = task_stage::encode_result;
        keep(value, run->result());
      }
    } catch (...) {
      thrown = std::current_exception();
    }
    {
      // Destroyed with the arguments that it may hold, before the end is reported.
      [[maybe_unused]] const Make gone{std::move(make)};
    }
    run->ended(stage, std::move(thrown));
  }
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
};

template <class T>
task<T> await_future(future<T> f) {
  co_await await_end(future_access::state(f));
  co_return future_access::take(f);
}

template <class R>
task<future<R>> await_submission(submission<R> what) {
  while (!submission_access::try_submit(what)) {
    co_await await_room(submission_access::turn(what));
  }
  co_return submission_access::take(what);
}

}  // namespace detail

/// Waits for that long in a coroutine; its worker runs others meanwhile.
///
/// @follows std::this_thread::sleep_for, asyncio.sleep.
/// @blocks no.
/// @throws operation_aborted when a stop request ends it.
template <class Rep, class Period>
[[nodiscard]] task<void> sleep_for(std::chrono::duration<Rep, Period> duration) {
  return detail::sleep_during(detail::to_nanoseconds(duration));
}

/// What Asio coroutines, tasks of a pool among them, wait for a future by: `T value = co_await
/// as_awaitable(f)`. They go on on their own executor once the future is ready; the value, or the
/// exception, is that of `get`.
///
/// A coroutine that is cancelled meanwhile cancels the future (as `cancel()`), and goes on at once
/// with operation_aborted. A future that is cancelled by others throws cancelled_error here.
///
/// @blocks no.
/// @worker_dies as future::get.
/// @throws error{no_state} for a default-constructed future; on `co_await` as future::get.
template <class T>
[[nodiscard]] task<T> as_awaitable(future<T> f) {
  if (!f.valid()) {
    detail::throw_no_state();
  }
  return detail::await_future(std::move(f));
}

/// The same for what `pool::co_apply_async` returns: `future<T> f = co_await as_awaitable(...)`. A
/// coroutine that is cancelled meanwhile has submitted nothing.
///
/// @blocks no.
/// @throws on `co_await` pool_closed; pool_broken.
template <class R>
[[nodiscard]] task<future<R>> as_awaitable(submission<R> what) {
  return detail::await_submission(std::move(what));
}

}  // namespace troupe
