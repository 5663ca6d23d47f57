// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/future_state.hpp"
#include "troupe/detail/local_value.hpp"

#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe::detail {

/// The outcome of a function that runs in this process once other futures have ended.
class continuation : public future_state {
 public:
  explicit continuation(std::vector<std::shared_ptr<future_state>> sources);
  ~continuation() override;

  // Nothing was encoded.
  void each_value(const std::function<void(std::span<const std::byte>)>& visit) const final;
  /// Cancels what it waits for.
  bool cancel(bool force) final;
  [[nodiscard]] bool running() const final;

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
  void end(std::exception_ptr thrown);

  std::vector<std::shared_ptr<future_state>> sources_;
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
