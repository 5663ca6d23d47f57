// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/future_state.hpp"
#include "troupe/error.hpp"

#include <chrono>
#include <compare>
#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

/// Says that a running task's worker may be killed: `f.cancel(troupe::force)`.
struct force_t {
  explicit force_t() = default;
};
inline constexpr force_t force{};

namespace detail {

template <class T>
T decode_result(std::span<const std::byte> bytes) {
  try {
    return decode<T>(bytes);
  } catch (...) {
    throw_result_decode(std::current_exception());
  }
}

template <class T>
T take_one(const future_state& state) {
  if constexpr (!std::is_void_v<T>) {
    std::optional<T> value;
    state.each_value(
        [&](std::span<const std::byte> bytes) { value.emplace(decode_result<T>(bytes)); });
    return std::move(*value);
  }
}

template <class Vector>
Vector take_all(const future_state& state) {
  Vector values;
  state.each_value([&](std::span<const std::byte> bytes) {
    values.push_back(decode_result<typename Vector::value_type>(bytes));
  });
  return values;
}

struct future_access;

}  // namespace detail

/// The outcome of a task that is still on its way.
///
/// Follows: Python's Future and AsyncResult in one. Copies are the same future. `get` may be called
/// again: the result stays encoded and every call decodes a new object (std::future gives it once).
/// Threads: any, all members.    Crosses: no; refused at compile time.
/// Worker dies: the future ends with worker_lost, or with the outcome of a retry if one was asked
/// for. Throws:  error{no_state} from every member but the comparisons if it was
/// default-constructed.
template <class T>
class future {
 public:
  using value_type = T;

  future() = default;

  /// Waits, then returns the value or rethrows what the task threw.
  /// Throws:  the task's exception (see remote_error_info), worker_lost, timeout_error,
  ///          cancelled_error, pool_closed, pool_broken, error{result_decode_failed}.
  T get() const {
    state().wait(std::nullopt);
    return take();
  }

  /// The same, or nothing if it takes longer. For `future<void>`: whether it was in time.
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

  void wait() const { state().wait(std::nullopt); }
  /// False: not in time. A negative duration does not wait.
  template <class Rep, class Period>
  bool wait_for(std::chrono::duration<Rep, Period> duration) const {
    return state().wait(detail::deadline_after(duration));
  }

  /// There is an outcome: a value, a failure, or cancellation. Never blocks.
  [[nodiscard]] bool ready() const { return state().done(); }
  /// There is a value.
  /// Throws:  std::logic_error before there is an outcome, as Python does.
  [[nodiscard]] bool successful() const {
    if (!ready()) {
      throw std::logic_error{"troupe: successful() before the future is ready: wait() first"};
    }
    return state().failed() == nullptr;
  }
  [[nodiscard]] bool cancelled() const {
    return ready() && state().failed() && state().failed()->code == errc::cancelled;
  }
  /// A worker has begun it and there is no outcome yet. Already out of date when it returns.
  [[nodiscard]] bool running() const { return !ready() && state().running(); }

  /// True: it had not begun, even if it was already sent to a worker, and never will; the future is
  /// ready now and throws cancelled_error. False: it has an outcome, or is running: then its
  /// `this_task::stop_token()` is set.
  bool cancel() { return mutable_state().cancel(false); }
  /// As `cancel()`; a running task's worker is killed if it does not end within the grace time.
  bool cancel(force_t) { return mutable_state().cancel(true); }

  /// Waits; the exception that `get` would throw, null if it would not.
  [[nodiscard]] std::exception_ptr exception() const {
    state().wait(std::nullopt);
    return state().failed() ? to_exception(*state().failed()) : nullptr;
  }

  /// Calls `function(value)` (or `function()`) once there is a value.
  ///
  /// Callbacks run in this process, one after the other on a thread of their own, in the order the
  /// outcomes come; they may capture, and one that throws is reported and forgotten. `pool::join`
  /// waits for them.
  template <class F>
  const future& on_result(F function) const {
    mutable_state().when_done(
        [function = std::move(function), decode = decode_](detail::future_state& s) mutable {
          if (s.failed()) {
            return;
          }
          if constexpr (std::is_void_v<T>) {
            function();
          } else {
            function(decode(s));
          }
        });
    return *this;
  }

  /// Calls `function(const troupe::error&)` if it failed: a remote_error for whatever the task
  /// threw.
  template <std::invocable<const error&> F>
  const future& on_error(F function) const {
    mutable_state().when_done([function = std::move(function)](detail::future_state& s) mutable {
      if (s.failed()) {
        function(*to_error(*s.failed()));
      }
    });
    return *this;
  }

  /// Calls `function(future)` when it is ready, however it ended.
  template <std::invocable<future> F>
  const future& on_done(F function) const {
    mutable_state().when_done(
        [function = std::move(function), decode = decode_](detail::future_state& s) mutable {
          function(future{s.shared_from_this(), decode});
        });
    return *this;
  }

  /// It belongs to a task.
  [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }
  /// The same future, not the same value.
  friend bool operator==(const future& a, const future& b) noexcept { return a.state_ == b.state_; }
  friend std::strong_ordering operator<=>(const future& a, const future& b) noexcept {
    return std::compare_three_way{}(a.state_.get(), b.state_.get());
  }

 private:
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
  T take() const {
    state_->rethrow_failure();
    return decode_(*state_);
  }

  std::shared_ptr<detail::future_state> state_;
  decoder decode_ = nullptr;
};

namespace detail {

struct future_access {
  template <class T>
  static future<T> one(std::shared_ptr<future_state> state) {
    return {std::move(state), &take_one<T>};
  }
  template <class Vector>
  static future<Vector> all(std::shared_ptr<future_state> state) {
    return {std::move(state), &take_all<Vector>};
  }
  template <class T>
  static const std::shared_ptr<future_state>& state(const future<T>& f) {
    return f.state_;
  }
};

}  // namespace detail
}  // namespace troupe

template <class T>
struct std::hash<troupe::future<T>> {
  std::size_t operator()(const troupe::future<T>& f) const noexcept {
    return std::hash<const void*>{}(f.state_.get());
  }
};
