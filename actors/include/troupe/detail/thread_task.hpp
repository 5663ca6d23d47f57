// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/kept_result.hpp"
#include "troupe/detail/local_value.hpp"
#include "troupe/detail/refusal.hpp"
#include "troupe/detail/signature.hpp"
#include "troupe/detail/thread_submission.hpp"
#include "troupe/detail/type_name.hpp"
#include "troupe/retry.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

// The tasks of thread pools, with their types.
namespace troupe::detail {

class coroutine_run;

/// As in a process: what points at text is kept as text, and a coroutine counts as what it returns.
template <class Raw>
struct local_outcome {
  using coroutine = coroutine_traits<std::remove_cvref_t<Raw>>;
  static constexpr bool is_coroutine = coroutine::is_coroutine;
  using type = kept_result<typename coroutine::result>;
};

template <class F, class... Args>
struct local_call_must_match {
  static_assert(std::is_void_v<F>,
                "troupe: this callable cannot be called with copies of these arguments (pass "
                "std::ref(x) for a reference to x)");
};

/// Why a callable of type F, called as Called, is refused with these arguments; see refusal.hpp.
template <class F, class Called, class... Args>
consteval auto find_local_refusal() {
  if constexpr (std::is_invocable_v<Called, Args...>) {
    return std::type_identity<void>{};
  } else if constexpr (is_taken_apart<arity<F>, std::remove_cvref_t<Args>...>) {
    return std::type_identity<
        pairs_and_tuples_need_starmap<std::tuple<std::remove_cvref_t<Args>...>, arity<F>>>{};
  } else if constexpr (signature<F>::known && arity<F> != sizeof...(Args)) {
    return std::type_identity<argument_count_must_match<F, sizeof...(Args), arity<F>>>{};
  } else {
    return std::type_identity<local_call_must_match<F, Args...>>{};
  }
}

/// A call in a worker thread, of a callable of type F that is called as Called.
template <class F, class Called, class... Args>
struct local_invocation {
  using refusal = typename decltype(find_local_refusal<F, Called, Args...>())::type;
  static constexpr bool ok = std::is_void_v<refusal>;
  static_assert(is_reported<refusal>);
  static consteval auto find_result() {
    if constexpr (ok) {
      return std::type_identity<std::invoke_result_t<Called, Args...>>{};
    } else {
      return std::type_identity<typename signature<F>::result>{};
    }
  }
  /// What the call returns; of one that is refused, what the function says it returns.
  using raw_result = typename decltype(find_result())::type;
  using result = typename local_outcome<raw_result>::type;
};

std::shared_ptr<coroutine_run> as_coroutine_run(const std::shared_ptr<local_run>& run);

/// The type of the argument that cannot be kept; the function's, if it can be called only once.
template <class F, class... Args>
std::string first_unrepeatable() {
  std::string found;
  static_cast<void>(
      ((enable_repeat<Args>::value || (found = type_name(typeid(Args)), false)) && ...));
  return found.empty() ? type_name(typeid(F)) : found;
}

/// The task of one call: the function, its arguments, and the result.
template <class R, class F, class... Args>
class thread_call final : public thread_submission {
  struct nothing {};
  using stored = std::conditional_t<std::is_void_v<R>, nothing, R>;

 public:
  template <class G, class... Given>
  thread_call(engine_ptr owner, const options_ptr& how, G&& function, Given&&... args)
      : thread_submission{std::move(owner), how},
        call_{std::in_place, std::forward<G>(function), std::forward<Given>(args)...} {}

  static R value(const future_state& state) {
    if constexpr (!std::is_void_v<R>) {
      return static_cast<const thread_call&>(state).value_.get();
    }
  }

 private:
  /// The function as it is, with copies of the arguments.
  static constexpr bool may_repeat =
      std::is_invocable_v<F&, Args...> && (enable_repeat<Args>::value && ...);

  using outcome = local_outcome<std::invoke_result_t<F, Args...>>;

  [[nodiscard]] bool is_coroutine() const noexcept override { return outcome::is_coroutine; }
  [[nodiscard]] bool is_void() const noexcept override { return std::is_void_v<R>; }
  void begin(std::uint32_t item, const std::shared_ptr<local_run>& run) override {
    if constexpr (outcome::is_coroutine) {
      // The function and the arguments stay where they are until the coroutine has ended; or, if it
      // may have to begin again, the arguments that it gets are copies.
      if constexpr (may_repeat) {
        if (repeats()) {
          auto copies = std::make_shared<std::tuple<Args...>>(std::apply(
              [](const F&, const Args&... args) { return std::tuple<Args...>(args...); }, *call_));
          begin_coroutine(run, [this, copies = std::move(copies)] {
            return std::apply(
                [this](Args&... args) {
                  return std::invoke(std::get<0>(*call_), std::move(args)...);
                },
                *copies);
          });
          return;
        }
      }
      begin_coroutine(run, [this] { return invoke(); });
    } else {
      thread_submission::begin(item, run);
    }
  }
  template <class Make>
  void begin_coroutine(const std::shared_ptr<local_run>& run, Make make) {
    outcome::coroutine::begin(as_coroutine_run(run), std::move(make),
                              [this](auto& value, auto& /*sink*/) {
                                if constexpr (std::is_void_v<R>) {
                                  static_cast<void>(this);
                                } else {
                                  value_.store(static_cast<R>(std::move(value)));
                                }
                              });
  }

  void run(std::uint32_t /*item*/) override {
    if constexpr (!outcome::is_coroutine) {
      run_function();
    }
  }
  void run_function() {
    if constexpr (may_repeat) {
      if (repeats()) {
        keep([this]() -> R { return static_cast<R>(invoke_with_copies()); });
        return;
      }
    }
    keep([this]() -> R {
      // The arguments are destroyed before the outcome is known, so that a caller that has seen it
      // can rely on that.
      struct cleaner {
        std::optional<std::tuple<F, Args...>>& call;
        ~cleaner() { call.reset(); }
      };
      const cleaner after{call_};
      return static_cast<R>(invoke());
    });
  }
  template <class Call>
  void keep(const Call& call) {
    if constexpr (std::is_void_v<R>) {
      call();
    } else {
      value_.store(call());
    }
  }
  decltype(auto) invoke() {
    return std::apply(
        [](F& function, Args&... args) -> decltype(auto) {
          return std::invoke(std::move(function), std::move(args)...);
        },
        *call_);
  }
  decltype(auto) invoke_with_copies() {
    return std::apply(
        [](F& function, const Args&... args) -> decltype(auto) {
          return std::invoke(function, Args(args)...);
        },
        *call_);
  }
  [[nodiscard]] std::string unrepeatable() const override {
    return may_repeat ? std::string{} : first_unrepeatable<F, Args...>();
  }
  void drop(std::uint32_t, std::uint32_t) noexcept override { call_.reset(); }
  void drop_value(std::uint32_t) noexcept override { value_.drop(); }

  std::optional<std::tuple<F, Args...>> call_;
  local_value<stored> value_;
};

/// The function of a map: many threads call it, so it is called as const; one that is only callable
/// otherwise gets a fresh copy each time.
template <class F>
struct shared_function {
  F function;

  template <class... Args>
  static constexpr bool as_const = std::is_invocable_v<const F&, Args...>;
  template <class... Args>
  using called = std::conditional_t<as_const<Args...>, const F&, F&>;

  template <class R, class... Args>
  R call(Args&&... args) const {
    if constexpr (as_const<Args...>) {
      return static_cast<R>(std::invoke(function, std::forward<Args>(args)...));
    } else {
      static_assert(!local_outcome<std::invoke_result_t<F&, Args...>>::is_coroutine,
                    "troupe: a map's coroutine function must be callable as const: many of it run "
                    "at once");
      static_assert(std::is_copy_constructible_v<F>,
                    "troupe: a map's function that changes itself must be copyable: each item is "
                    "given to a fresh copy");
      F fresh{function};
      return static_cast<R>(std::invoke(fresh, std::forward<Args>(args)...));
    }
  }
};

/// An item as the one argument, or its elements as the arguments.
template <class F, class... Args>
using local_item_call =
    local_invocation<F, typename shared_function<F>::template called<Args...>, Args...>;
template <class F, class Item>
struct local_plain : local_item_call<F, Item> {
  template <class R>
  static R call(const shared_function<F>& function, Item&& item) {
    return function.template call<R>(std::move(item));
  }
};
template <class F, class Item, class Indices = std::make_index_sequence<std::tuple_size_v<Item>>>
struct local_starred;
template <class F, class Item, std::size_t... I>
struct local_starred<F, Item, std::index_sequence<I...>>
    : local_item_call<F, std::tuple_element_t<I, Item>...> {
  template <class R>
  static R call(const shared_function<F>& function, Item&& item) {
    using std::get;
    return function.template call<R>(get<I>(std::move(item))...);
  }
};

/// Some items of a map.
template <class Shape, class F, class Item>
class thread_block final : public thread_submission {
 public:
  using result = typename Shape::result;
  struct nothing {};
  using stored = std::conditional_t<std::is_void_v<result>, nothing, result>;

  thread_block(engine_ptr owner, const options_ptr& how,
               std::shared_ptr<const shared_function<F>> function, std::size_t most)
      : thread_submission{std::move(owner), how}, function_{std::move(function)} {
    items_.reserve(most);
  }
  template <class Given>
  void add(Given&& item) {
    items_.emplace_back(std::forward<Given>(item));
  }
  std::size_t seal() {
    if constexpr (!std::is_void_v<result>) {
      values_ = std::make_unique<local_value<stored>[]>(items_.size());
    }
    set_count(static_cast<std::uint32_t>(items_.size()));
    return items_.size();
  }
  /// The result itself, for its only reader.
  result take(std::uint32_t item) {
    if constexpr (!std::is_void_v<result>) {
      return values_[item].take();
    }
  }
  result get(std::uint32_t item) const {
    if constexpr (!std::is_void_v<result>) {
      return values_[item].get();
    }
  }

 private:
  using outcome = local_outcome<typename Shape::raw_result>;

  [[nodiscard]] bool is_coroutine() const noexcept override { return outcome::is_coroutine; }
  [[nodiscard]] bool is_void() const noexcept override { return std::is_void_v<result>; }
  void begin(std::uint32_t item, const std::shared_ptr<local_run>& run) override {
    if constexpr (outcome::is_coroutine) {
      auto argument = std::make_shared<Item>(given(item));
      outcome::coroutine::begin(
          as_coroutine_run(run),
          [this, argument = std::move(argument)] {
            return Shape::template call<typename Shape::raw_result>(*function_,
                                                                    std::move(*argument));
          },
          [this, item](auto& value, auto& /*sink*/) {
            if constexpr (std::is_void_v<result>) {
              static_cast<void>(this), static_cast<void>(item);
            } else {
              values_[item].store(static_cast<result>(std::move(value)));
            }
          });
    } else {
      thread_submission::begin(item, run);
    }
  }
  /// What an item is called with: the item itself, or a copy if it may have to run again.
  Item given(std::uint32_t item) {
    if constexpr (enable_repeat<Item>::value) {
      if (repeats()) {
        return Item(std::as_const(*items_[item]));
      }
    }
    Item argument{std::move(*items_[item])};
    items_[item].reset();
    return argument;
  }

  void run(std::uint32_t item) override {
    if constexpr (!outcome::is_coroutine) {
      run_with(item, given(item));
    }
  }
  void run_with(std::uint32_t item, Item&& argument) {
    if constexpr (std::is_void_v<result>) {
      Shape::template call<void>(*function_, std::move(argument));
    } else {
      values_[item].store(Shape::template call<result>(*function_, std::move(argument)));
    }
  }
  [[nodiscard]] std::string unrepeatable() const override {
    return enable_repeat<Item>::value ? std::string{} : type_name(typeid(Item));
  }
  void drop(std::uint32_t first, std::uint32_t last) noexcept override {
    for (; first < last; ++first) {
      items_[first].reset();
    }
  }
  void drop_value(std::uint32_t item) noexcept override {
    if constexpr (!std::is_void_v<result>) {
      values_[item].drop();
    }
  }

  std::shared_ptr<const shared_function<F>> function_;
  std::vector<std::optional<Item>> items_;
  std::unique_ptr<local_value<stored>[]> values_;
};

}  // namespace troupe::detail
