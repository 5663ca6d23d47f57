// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/continuation.hpp"
#include "troupe/detail/future_state.hpp"
#include "troupe/error.hpp"

#include <compare>
#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

template <class T>
class future;

/// Says that a running task's worker may be killed: `f.cancel(troupe::force)`.
struct force_t {
  /// Explicit, so that `cancel({})` is not taken for it.
  explicit force_t() = default;
};
/// What `future::cancel` is given to end a task by force.
inline constexpr force_t force{};

namespace detail {

struct future_access;

template <class T>
struct unwrapped {
  using type = T;
};
template <class T>
struct unwrapped<future<T>> {
  using type = T;
};

/// Calls with the future's value, or without if it has none.
template <class T, class F, class Future>
decltype(auto) call_with(F& function, const Future& source) {
  if constexpr (std::is_void_v<T>) {
    source.get();
    return function();
  } else {
    return function(source.get());
  }
}

}  // namespace detail

/// The outcome of a task that is still on its way.
///
/// Copies are the same future. `get` may be called again: the result stays encoded and every call
/// decodes a new object (std::future gives it once). Of a thread pool every call copies the result;
/// one that can only be moved is given once, and the next call throws error{no_state}.
///
/// A thread that has seen the end of a task (by `get`, `wait`, `ready`, `exception`, in a callback,
/// after `co_await`) also sees what the task wrote to memory:
/// - On threads: all that the task wrote before it returned or threw happens before `get` returns.
/// - In a worker process: what it wrote to shared objects and shared memory before it returned or
///   threw. All other memory is the worker's own, and only the result comes from it. What a worker
///   that died wrote to shared memory is there in whole or in part.
/// - Nothing is promised of a task that goes on after its future has ended: on threads after a
///   `.timeout`, a `.deadline`, a `cancel(force)` or `terminate`.
///
/// `get`, `wait` and `exception` of a future that has callbacks return after those have returned
/// that were added before them (by on_result, on_error, on_done), as Python's Pool does; so a
/// callback must not wait for the thread that waits for its future. On a thread of the library they
/// never wait for callbacks: in a callback, a task of a thread pool, a log hook. Nothing waits for
/// those of on_progress, and nothing else for callbacks: not `ready`, the waits with a limit of
/// time, `troupe::wait`, `as_completed`, `then`, `when_all` and `co_await`, and not `get` of another
/// future, such as that of `then`.
///
/// @follows Python's Future and AsyncResult in one.
/// @blocks as each member says; in a task of a thread pool, a wait runs what it waits for on the
///   calling thread if that is a task of the same pool which no worker has begun, and returns after
///   that, also from a wait with a limit of time. It runs no other task.
/// @threads any, all members.
/// @crosses no; refused at compile time.
/// @worker_dies the future ends with worker_lost, or with the outcome of a retry if one was asked
///   for.
/// @throws error{wrong_state} from all but `ready` and `valid` in a process that was forked from the
///   one of the task, unless there was an outcome before; error{no_state} from every member but
///   `valid` and the comparisons if it was default-constructed; error{would_deadlock} from waits in
///   tasks of a thread pool that wait for each other, or for more than its threads can run
///   (troupe/thread_pool.hpp); error{resource_exhausted} from on_result and its like if no thread
///   can be started for callbacks, pool_closed if the `troupe::system` of a process pool has ended.
template <class T>
class future {
 public:
  /// The type of the value.
  using value_type = T;

  /// A future of no task.
  future() = default;

  /// Waits, then returns the value or rethrows what the task threw.
  ///
  /// @blocks until there is an outcome, and callbacks have returned (see future). Every task gets
  ///   one: none is forgotten when a worker, a pool or the system ends.
  /// @throws the task's exception (see remote_error_info); worker_lost; timeout_error;
  ///   cancelled_error; pool_closed; pool_broken; error{result_decode_failed}, or
  ///   error{resource_exhausted} if its handles lack descriptors here: `get` may be tried again.
  T get() const {
    state().wait_with_callbacks();
    return take();
  }

  /// As get, for a limited time.
  ///
  /// @returns nothing: the time was over first. For `future<void>`: whether it was in time.
  /// @blocks for at most `duration`, in a task longer if it runs what it waits for (see future); a
  ///   negative one does not wait.
  /// @throws as get.
  template <class Rep, class Period>
  auto get_for(std::chrono::duration<Rep, Period> duration) const
      -> std::conditional_t<std::is_void_v<T>, bool,
                            std::optional<std::conditional_t<std::is_void_v<T>, int, T>>> {
    if constexpr (std::is_void_v<T>) {
      if (!wait_for(duration)) {
        return false;
      }
      take();
      return true;
    } else {
      if (!wait_for(duration)) {
        return std::nullopt;
      }
      return take();
    }
  }

  /// Waits until there is an outcome, and leaves it there.
  ///
  /// @blocks as get.
  void wait() const { state().wait_with_callbacks(); }
  /// As wait, for a limited time.
  ///
  /// @returns false: the time was over first.
  /// @blocks for at most `duration`, in a task longer if it runs what it waits for (see future); a
  ///   negative one does not wait.
  template <class Rep, class Period>
  bool wait_for(std::chrono::duration<Rep, Period> duration) const {
    return state().wait(detail::deadline_after(duration));
  }

  /// There is an outcome: a value, a failure, or cancellation. Never blocks.
  [[nodiscard]] bool ready() const { return state().done(); }
  /// There is a value. Never blocks.
  ///
  /// @throws std::logic_error before there is an outcome, as Python does.
  [[nodiscard]] bool successful() const {
    if (!ready()) {
      throw std::logic_error{"troupe: successful() before the future is ready: wait() first"};
    }
    return state().failed() == nullptr;
  }
  /// It was cancelled, and `get` throws cancelled_error. Never blocks.
  [[nodiscard]] bool cancelled() const {
    return ready() && state().failed() && state().failed()->code == errc::cancelled;
  }
  /// A worker has begun it and there is no outcome yet; may be out of date when it returns.
  ///
  /// @blocks for a moment, until the supervisor has looked.
  [[nodiscard]] bool running() const { return !ready() && state_here().running(); }

  /// Cancels the task for certain if it has not begun, even if it was already sent to a worker, and
  /// otherwise asks it to stop: its `this_task::stop_token()` is set, a coroutine is cancelled.
  ///
  /// @returns true: it never begins; the future is ready now and throws cancelled_error. False: it
  ///   has an outcome, or is running.
  /// @blocks for a moment, until the supervisor has decided.
  bool cancel() { return state_here().cancel(false); }
  /// As `cancel()`; if a running task does not end within the grace time, its worker is killed and
  /// replaced, or, on threads, the future ends while the task goes on.
  bool cancel(force_t) { return state_here().cancel(true); }

  /// The exception that `get` would throw, null if it would not.
  ///
  /// @blocks as get.
  [[nodiscard]] std::exception_ptr exception() const {
    state().wait_with_callbacks();
    return state().exception();
  }

  /// Calls `function(value)` (or `function()`) once there is a value.
  ///
  /// Callbacks run in this process, one after the other on a thread of their own, in the order the
  /// outcomes come, and of one future in the order they were added; they may capture, and are
  /// destroyed where they run. One that throws is reported by the log hook, and the others run.
  /// They may wait for tasks, and close, join and destroy their pool. `pool::join` waits for them.
  /// In a task, those of the futures of `this_task::pool()` run in the worker.
  ///
  /// @returns this future.
  /// @blocks no: if there is a value already, the call is made soon.
  template <class F>
  const future& on_result(F function) const {
    mutable_state().add_callback(
        [function = std::move(function), decode = decode_](detail::future_state& s) mutable {
          if (s.failed()) {
            return;
          }
          if constexpr (std::is_void_v<T>) {
            static_cast<void>(decode);
            function();
          } else {
            function(decode(s));
          }
        });
    return *this;
  }

  /// Calls `function(const troupe::error&)` if it failed: with a remote_error for what the task
  /// threw; otherwise as on_result.
  ///
  /// @returns this future.
  template <std::invocable<const error&> F>
  const future& on_error(F function) const {
    mutable_state().add_callback([function = std::move(function)](detail::future_state& s) mutable {
      if (s.failed()) {
        function(*to_error(*s.failed()));
      }
    });
    return *this;
  }

  /// Calls `function(future)` when there is an outcome, whichever it is; otherwise as on_result.
  ///
  /// @returns this future.
  template <std::invocable<future> F>
  const future& on_done(F function) const {
    mutable_state().add_callback(
        [function = std::move(function), decode = decode_](detail::future_state& s) mutable {
          function(future{s.shared_from_this(), decode});
        });
    return *this;
  }

  /// The future of `function(value)` (or `function()`), which runs where callbacks run once there
  /// is a value. If this one fails, so does the result, with the same exception, and `function` is
  /// never called. A function that returns a future is waited for: `future<future<U>>` is never
  /// made. Cancelling the result cancels this one, or the future that `function` returned.
  ///
  /// A callback that waits for the result of a `then` of the same pool waits for ever, because that
  /// has to run after it.
  ///
  /// @follows Folly's thenValue.
  /// @returns a future that throws what `function` throws.
  /// @blocks no.
  template <class F>
  auto then(F function) const {
    using returned = decltype(detail::call_with<T>(function, *this));
    using result = typename detail::unwrapped<returned>::type;
    auto made = std::make_shared<detail::continuation_of<result>>(std::vector{state_});
    auto duty = std::make_shared<detail::completion_duty>(made);
    mutable_state().when_done(
        [made, duty = std::move(duty), decode = decode_,
         function = std::make_shared<F>(std::move(function))](detail::future_state& s) {
          const future source{s.shared_from_this(), decode};
          if constexpr (std::is_same_v<returned, result>) {
            made->run([&] { return detail::call_with<T>(*function, source); });
          } else {
            try {
              const returned next = detail::call_with<T>(*function, source);
              made->follow(next.state_);
              next.mutable_state().when_done(
                  [made, duty, decode = next.decode_](detail::future_state& inner) {
                    made->run([&] { return returned{inner.shared_from_this(), decode}.take(); });
                  });
            } catch (...) {
              made->run([&]() -> result { throw; });
            }
          }
        });
    return future<result>{std::move(made), &detail::continuation_of<result>::take};
  }

  /// What the task last said with `this_task::progress`; for a map, how many of its items have an
  /// outcome. Nothing before the first report. Never blocks.
  [[nodiscard]] std::optional<task_progress> progress() const { return state().progress(); }

  /// Counts by state the items of a map (map_async, starmap_async), or the one task of a call, at
  /// this moment.
  ///
  /// @blocks for a moment, until the supervisor has looked; the tasks go on meanwhile.
  [[nodiscard]] task_counts counts() const { return state_here().counts(); }

  /// Calls `function(const troupe::task_progress&)` for every report from now on that comes before
  /// the outcome; otherwise as on_result.
  ///
  /// @returns this future.
  template <std::invocable<const task_progress&> F>
  const future& on_progress(F function) const {
    mutable_state().on_progress(std::move(function));
    return *this;
  }

  /// It belongs to a task: it was not default-constructed.
  [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }
  /// The same future, not the same value.
  friend bool operator==(const future& a, const future& b) noexcept { return a.state_ == b.state_; }
  /// Some order of futures, for keys of a map.
  friend std::strong_ordering operator<=>(const future& a, const future& b) noexcept {
    return std::compare_three_way{}(a.state_.get(), b.state_.get());
  }

 private:
  template <class>
  friend class future;
  friend struct detail::future_access;
  friend struct std::hash<future>;
  using decoder = T (*)(const detail::future_state&);

  future(std::shared_ptr<detail::future_state> state, decoder decode)
      : state_{std::move(state)}, decode_{decode} {}

  [[nodiscard]] const detail::future_state& state() const { return mutable_state(); }
  [[nodiscard]] detail::future_state& mutable_state() const {
    if (!state_) {
      detail::throw_no_state();
    }
    return *state_;
  }
  [[nodiscard]] detail::future_state& state_here() const {
    mutable_state().check_comes_here();
    return *state_;
  }
  T take() const {
    state_->rethrow_failure();
    return decode_(*state_);
  }

  std::shared_ptr<detail::future_state> state_;
  decoder decode_ = nullptr;
};

namespace detail {

struct future_access {
  /// With a result that was never encoded: `take` knows where it is.
  template <class T>
  static future<T> local(std::shared_ptr<future_state> state, T (*take)(const future_state&)) {
    return {std::move(state), take};
  }
  template <class T>
  static future<T> made(std::shared_ptr<continuation_of<T>> state) {
    return {std::move(state), &continuation_of<T>::take};
  }
  template <class T>
  static const std::shared_ptr<future_state>& state(const future<T>& f) {
    return f.state_;
  }
  /// Of one that is done: `get` without waiting for callbacks.
  template <class T>
  static T take(const future<T>& f) {
    return f.take();
  }
  /// `function(state)` when it is done; `get` does not wait for that.
  template <class T, class F>
  static void when_done(const future<T>& f, F function) {
    f.mutable_state().when_done(std::move(function));
  }
};

}  // namespace detail
}  // namespace troupe

/// @cond
// For futures as keys of unordered containers.
template <class T>
struct std::hash<troupe::future<T>> {
  std::size_t operator()(const troupe::future<T>& f) const noexcept {
    return std::hash<const void*>{}(f.state_.get());
  }
};
/// @endcond
