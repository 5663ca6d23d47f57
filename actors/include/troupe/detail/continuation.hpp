// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/future_state.hpp"
#include "troupe/detail/local_value.hpp"
#include "troupe/detail/thread_safety.hpp"

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe::detail {

/// The outcome of a function that runs in this process once other futures have ended. It keeps them
/// until it ends; a chain of any length is walked and destroyed link by link, without recursion.
class continuation : public future_state {
 public:
  explicit continuation(std::vector<std::shared_ptr<future_state>> sources);
  ~continuation() override;

  // Nothing was encoded.
  void each_value(const std::function<void(std::span<const std::byte>)>& visit) const final;
  /// Cancels what it waits for, through all links; if none of that ever begins, it is done when
  /// this returns.
  bool cancel(bool force) final;
  [[nodiscard]] bool running() const final;
  bool any_source(const source_visitor& visit) const final;
  /// Is handed on to what it follows later.
  void need() const final;
  /// The function has returned another future: it waits for that from now on.
  void follow(std::shared_ptr<future_state> next);

  /// Ends it, unless it has ended: with what `function` throws, or without.
  template <class F>
  void complete(F function) {
    std::exception_ptr thrown;
    try {
      function();
    } catch (...) {
      thrown = std::current_exception();
    }
    end(std::move(thrown));
  }

 protected:
  [[nodiscard]] executor callbacks() const final;
  [[nodiscard]] std::exception_ptr original() const final { return thrown_; }

 private:
  using states = std::vector<std::shared_ptr<future_state>>;

  void end(std::exception_ptr thrown);
  [[nodiscard]] states sources() const;
  /// What it waits for that is itself no continuation, through all links that have not ended; and
  /// what has ended among the links.
  [[nodiscard]] states roots() const;

  const executor executor_;
  mutable guarded_mutex mutex_;
  states sources_ TROUPE_GUARDED_BY(mutex_);  ///< empty when it has ended
  std::atomic<bool> ended_{false};            ///< claimed by the thread that ends it
  mutable std::atomic<bool> needed_{false};
  std::exception_ptr thrown_;
};

/// Held by the callback that completes a continuation. If the callback is dropped, because the
/// program ends, the continuation fails, so that no thread waits for it for ever.
class completion_duty {
 public:
  explicit completion_duty(std::shared_ptr<continuation> of) : of_{std::move(of)} {}
  ~completion_duty();
  completion_duty(const completion_duty&) = delete;
  completion_duty& operator=(const completion_duty&) = delete;

 private:
  std::shared_ptr<continuation> of_;
};

template <class R>
class continuation_of final : public continuation {
 public:
  using continuation::continuation;
  struct nothing {};
  using stored = std::conditional_t<std::is_void_v<R>, nothing, R>;

  /// Calls and keeps what comes back.
  template <class F>
  void run(F function) {
    complete([&] {
      if constexpr (std::is_void_v<R>) {
        function();
        value_.store(nothing{});
      } else {
        value_.store(function());
      }
    });
  }

  static R take(const future_state& state) {
    if constexpr (!std::is_void_v<R>) {
      return static_cast<const continuation_of&>(state).value_.get();
    }
  }

 private:
  local_value<stored> value_;
};

}  // namespace troupe::detail
