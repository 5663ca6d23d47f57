// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/byte_sink.hpp"
#include "troupe/detail/code_address.hpp"
#include "troupe/detail/kept_result.hpp"
#include "troupe/detail/passing.hpp"
#include "troupe/detail/refusal.hpp"
#include "troupe/detail/signature.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

// How a call crosses: as the code address of a factory that knows all its types, the state of the
// callable, and the arguments. The user registers nothing.

namespace troupe::detail {

/// What a task was doing when it threw.
enum class task_stage : std::uint8_t { decode_callable, decode_arguments, run, encode_result };

/// One run of a task that is a coroutine, as the worker sees it; see troupe/task.hpp.
class coroutine_run;

/// A callable of some type, ready to be run any number of times in this process.
class erased_task {
 public:
  erased_task() = default;
  erased_task(const erased_task&) = delete;
  erased_task& operator=(const erased_task&) = delete;
  virtual ~erased_task();

  /// Calls it with the arguments and appends its result; sets `stage` as it goes. Views that the
  /// function takes point into `arguments`.
  ///
  /// @throws what the user's code throws; error{protocol_error} for arguments that are none.
  virtual void run(std::span<const std::byte> arguments, byte_sink& result, task_stage& stage) = 0;

  /// True: a call of it makes a coroutine; `begin` lets others run while it waits, `run` does not.
  [[nodiscard]] virtual bool is_coroutine() const noexcept;
  /// Begins a call of a coroutine, and tells `run` how it ended. This object and what `arguments`
  /// points to outlive the coroutine.
  ///
  /// @throws as `run`, until the coroutine is made.
  virtual void begin(std::span<const std::byte> arguments,
                     const std::shared_ptr<coroutine_run>& run, task_stage& stage);
};

using task_factory = std::unique_ptr<erased_task> (*)(std::span<const std::byte> state);

// callables as values

template <class F>
inline constexpr bool is_partial = false;  // specialised in callable.hpp

/// No state to send: captureless lambdas and empty function objects without a serialize.
template <class F>
inline constexpr bool is_stateless =
    std::is_class_v<F> && std::is_empty_v<F> && !is_partial<F> && !encoding::has<F> &&
    (std::is_default_constructible_v<F> || (std::is_trivially_copyable_v<F> && sizeof(F) == 1));

[[noreturn]] void fail_null_callable();
[[noreturn]] void fail_null_function(const std::type_info& type);

template <class F>
void save_callable(output_archive& ar, const F& f) {
  if constexpr (std::is_pointer_v<F> || std::is_member_function_pointer_v<F>) {
    if (f == nullptr) {
      fail_null_callable();
    }
    ar(f);
  } else if constexpr (!is_stateless<F>) {
    ar(f);
  }
}

template <class F>
[[nodiscard]] F load_callable(input_archive& ar) {
  if constexpr (is_partial<F>) {
    return F::load_whole(ar);
  } else if constexpr (!is_stateless<F>) {
    F f{};
    load_value(ar, f);
    if constexpr (std::is_pointer_v<F> || std::is_member_function_pointer_v<F>) {
      if (f == nullptr) {
        fail_null_function(typeid(F));
      }
    }
    return f;
  } else if constexpr (std::is_default_constructible_v<F>) {
    return F{};
  } else {
    return std::bit_cast<F>(
        std::byte{});  // [=] or [&] that captured nothing: no state, no constructor
  }
}

/// A callable is called as const; one that is only callable as non-const gets a fresh copy each
/// time, so that no task sees what an earlier one left in it.
template <class F, class... Passed>
inline constexpr bool is_called_const = std::is_invocable_v<const F&, Passed...>;

template <class F, class List>
struct call_of;
template <class F, class... Received>
struct call_of<F, type_list<Received...>> {
  static constexpr bool calls_const = is_called_const<F, passed_as<Received>...>;
  using called = std::conditional_t<calls_const, const F&, F&>;
  static constexpr bool possible = std::is_invocable_v<called, passed_as<Received>...>;
  static consteval auto find_result() {
    if constexpr (possible) {
      return std::type_identity<std::invoke_result_t<called, passed_as<Received>...>>{};
    } else {
      return std::type_identity<refused_result>{};
    }
  }
  using raw_result = typename decltype(find_result())::type;
  using coroutine = coroutine_traits<std::remove_cvref_t<raw_result>>;
  /// What a call gives in the end: of a coroutine, what it returns.
  using given = std::conditional_t<coroutine::is_coroutine, typename coroutine::result, raw_result>;
  using result = kept_result<given>;
};

template <class F, class... Received>
class typed_task final : public erased_task {
 public:
  explicit typed_task(F f) : f_(std::move(f)) {}

  void run(std::span<const std::byte> arguments, byte_sink& result, task_stage& stage) override {
    stage = task_stage::decode_arguments;
    decoded read = read_arguments(arguments);
    stage = task_stage::run;
    call(fresh_or_own(), read, result, stage);
  }

  [[nodiscard]] bool is_coroutine() const noexcept override {
    return traits::coroutine::is_coroutine;
  }

  void begin(std::span<const std::byte> arguments, const std::shared_ptr<coroutine_run>& run,
             task_stage& stage) override {
    if constexpr (traits::coroutine::is_coroutine) {
      stage = task_stage::decode_arguments;
      // On the heap: the coroutine's parameters may refer to its arguments, and itself to its
      // callable.
      auto kept = std::make_shared<kept_call>(read_arguments(arguments), fresh_or_own());
      stage = task_stage::run;
      traits::coroutine::begin(
          run,
          [kept = std::move(kept)] {
            return invoke(static_cast<callable&>(kept->function), kept->read);
          },
          [](const auto& value, byte_sink& result) { keep(value, result); });
    } else {
      erased_task::begin(arguments, run, stage);
    }
  }

  static std::unique_ptr<erased_task> make(std::span<const std::byte> state) {
    input_archive ar{state};
    auto made = std::make_unique<typed_task>(load_callable<F>(ar));
    ar.finish(typeid(F));
    return made;
  }

 private:
  using traits = call_of<F, type_list<Received...>>;
  using decoded = std::tuple<argument<Received>...>;
  /// As what it is called.
  using callable = std::remove_reference_t<typename traits::called>;
  static constexpr bool copied = !traits::calls_const && std::is_copy_constructible_v<F>;
  using held = std::conditional_t<copied, F, callable&>;

  struct kept_call {
    kept_call(decoded&& arguments, held&& f)
        : read{std::move(arguments)}, function(std::forward<held>(f)) {}
    decoded read;
    held function;
  };

  held fresh_or_own() { return f_; }

  static decoded read_arguments(std::span<const std::byte> arguments) {
    input_archive ar{arguments};
    // Braces: elements are read from left to right.
    decoded read{argument<Received>::read(ar)...};
    ar.finish(typeid(std::tuple<wire_of<Received>...>));
    return read;
  }

  static decltype(auto) invoke(callable& f, decoded& read) {
    return std::apply(
        [&](auto&... each) -> decltype(auto) { return std::invoke(f, each.pass()...); }, read);
  }

  static void call(held&& f, decoded& read, byte_sink& result, task_stage& stage) {
    callable& function = f;
    const auto made = [&]() -> decltype(auto) {
      if constexpr (traits::coroutine::is_coroutine) {
        return traits::coroutine::run([&] { return invoke(function, read); });
      } else {
        return invoke(function, read);
      }
    };
    if constexpr (std::is_void_v<typename traits::given>) {
      made();
      stage = task_stage::encode_result;
    } else {
      decltype(auto) value = made();
      stage = task_stage::encode_result;
      keep(value, result);
    }
  }

  template <class Value>
  static void keep(const Value& value, byte_sink& result) {
    using kept = typename traits::result;
    if constexpr (blittable<kept>) {
      result.append(&value, sizeof(kept));
    } else {
      output_archive ar{result};
      write_argument<kept>(ar, value);
    }
  }

  F f_;
};

template <class F, class List>
struct task_of;
template <class F, class... Received>
struct task_of<F, type_list<Received...>> {
  using type = typed_task<F, Received...>;
};

void write_factory(output_archive& ar, task_factory factory);

// Refusals: one type for each, whose name and text are what the compiler prints first.

template <class F>
consteval bool is_closure_type() {
  const std::string_view name = __PRETTY_FUNCTION__;
  return name.find("<lambda") != std::string_view::npos ||
         name.find("(lambda at") != std::string_view::npos;
}

template <class F>
struct callable_must_cross {
  static constexpr bool closure = is_closure_type<F>();
  static_assert(!closure,
                "troupe: a capturing lambda cannot cross to another process: bind the values with "
                "troupe::partial(f, values...) or use a function object with serialize");
  static_assert(closure,
                "troupe: this callable cannot cross to another process: use a function, a member "
                "function, a lambda without captures, troupe::partial(f, values...) or a function "
                "object with `template <class Archive> void serialize(Archive& ar)`");
};

template <class F>
struct callable_must_show_its_code {
  static_assert(
      std::is_void_v<F>,
      "troupe: std::function and std::reference_wrapper hide what they call, so they cannot "
      "cross to another process: pass the function itself, or troupe::partial(f, values...)");
};

template <class F, std::size_t Given>
struct call_must_match {
  static_assert(std::is_void_v<F>,
                "troupe: this callable cannot be called with these arguments (as values: what it "
                "changes in a reference would be lost in another process)");
};

template <class Handle>
struct handle_must_be_taken_by_value {
  static_assert(std::is_void_v<Handle>,
                "troupe: take this handle by value or by const reference, not by reference: copies "
                "of it are the same object, and its operations are const");
};

template <class Parameter>
struct parameter_must_be_a_value {
  static_assert(!std::is_lvalue_reference_v<Parameter> && !is_span<Parameter>,
                "troupe: a function called in another process cannot take a non-const reference or "
                "span, its changes would be lost in another process: return the value instead");
  static_assert(
      std::is_lvalue_reference_v<Parameter> || is_span<Parameter>,
      "troupe: a function called in another process cannot take a raw pointer, which means "
      "nothing there: take the value, a span of const or a smart pointer");
};

template <class Parameter, class Argument>
struct argument_must_convert {
  static_assert(std::is_void_v<Parameter>,
                "troupe: this argument does not convert to the function's parameter");
};

/// Whether a parameter is one for which the function's changes to the argument would be lost, or
/// the argument's pointer would mean nothing in the worker.
template <class P>
consteval bool is_value_parameter() {
  using plain = std::remove_cvref_t<P>;
  using referred = std::remove_reference_t<P>;
  bool changes =
      std::is_lvalue_reference_v<P> && !std::is_const_v<referred> && !std::is_function_v<referred>;
  if constexpr (is_span<plain>) {
    changes = changes || !std::is_const_v<typename plain::element_type>;
  }
  return !changes && (std::is_same_v<plain, const char*> || !is_raw_pointer<std::decay_t<P>>);
}

// The questions, see is_reported. Each makes sense only if the ones before it were answered by void.

template <class Received>
consteval auto find_received_refusal() {
  using wire = wire_of<Received>;
  if constexpr (is_span<wire>) {
    return std::type_identity<void>{};
  } else if constexpr (!std::is_void_v<encode_refusal<wire>>) {
    return std::type_identity<encode_refusal<wire>>{};
  } else {
    return std::type_identity<decode_refusal<wire>>{};
  }
}
template <class Received>
using received_refusal = typename decltype(find_received_refusal<Received>())::type;

template <class P, class Arg>
consteval auto find_argument_refusal() {
  using plain = std::remove_cvref_t<P>;
  if constexpr (!is_value_parameter<P>() && is_own_type<plain>()) {
    if constexpr (std::is_void_v<encode_refusal<plain>>) {
      return std::type_identity<handle_must_be_taken_by_value<plain>>{};
    } else {
      return std::type_identity<encode_refusal<plain>>{};
    }
  } else if constexpr (!is_value_parameter<P>()) {
    return std::type_identity<parameter_must_be_a_value<P>>{};
  } else {
    using received = typename passing<P, Arg>::received;
    if constexpr (!std::is_void_v<received_refusal<received>>) {
      return std::type_identity<received_refusal<received>>{};
    } else if constexpr (!can_make<wire_of<received>, Arg>) {
      return std::type_identity<argument_must_convert<P, Arg>>{};
    } else {
      return std::type_identity<void>{};
    }
  }
}
template <class P, class Arg>
using argument_refusal = typename decltype(find_argument_refusal<P, Arg>())::type;

/// Why F itself cannot be sent.
template <class F>
consteval auto find_callable_refusal() {
  constexpr bool simple = is_stateless<F> || std::is_member_function_pointer_v<F> ||
                          (std::is_pointer_v<F> && std::is_function_v<std::remove_pointer_t<F>>);
  if constexpr (is_refused<F>) {
    return std::type_identity<callable_must_show_its_code<F>>{};
  } else if constexpr (!simple && !(std::is_class_v<F> && encoding::has<F> && decoding::has<F>)) {
    return std::type_identity<callable_must_cross<F>>{};
  } else if constexpr (!simple && !is_partial<F> && !std::is_default_constructible_v<F>) {
    return std::type_identity<must_be_default_constructible<F>>{};
  } else {
    return std::type_identity<void>{};
  }
}
template <class F>
using callable_refusal = typename decltype(find_callable_refusal<F>())::type;

/// Of the first argument that is refused.
template <class F, std::size_t I, class... Args>
consteval auto find_arguments_refusal() {
  if constexpr (I == sizeof...(Args)) {
    return std::type_identity<void>{};
  } else {
    using argument_type = std::tuple_element_t<I, std::tuple<std::type_identity<Args>...>>;
    using refusal = argument_refusal<parameter<F, I>, typename argument_type::type>;
    if constexpr (std::is_void_v<refusal>) {
      return find_arguments_refusal<F, I + 1, Args...>();
    } else {
      return std::type_identity<refusal>{};
    }
  }
}
template <class F, class... Args>
using arguments_refusal = typename decltype(find_arguments_refusal<F, 0, Args...>())::type;

template <class F, class... Args>
consteval auto find_call_refusal() {
  using traits = call_of<F, received_types<F, Args...>>;
  if constexpr (!traits::possible) {
    return std::type_identity<call_must_match<F, sizeof...(Args)>>{};
  } else if constexpr (std::is_void_v<typename traits::result>) {
    return std::type_identity<void>{};
  } else {
    return std::type_identity<received_refusal<typename traits::result>>{};
  }
}

/// All that is refused at compile time.
template <class F, class... Args>
consteval auto find_task_refusal() {
  using callable = std::decay_t<F>;
  constexpr bool counts_match = !signature<callable>::known || arity<callable> == sizeof...(Args);
  if constexpr (!std::is_void_v<callable_refusal<callable>>) {
    return std::type_identity<callable_refusal<callable>>{};
  } else if constexpr (!counts_match &&
                       is_taken_apart<arity<callable>, std::remove_cvref_t<Args>...>) {
    return std::type_identity<pairs_and_tuples_need_starmap<type_list<Args...>, arity<callable>>>{};
  } else if constexpr (!counts_match) {
    return std::type_identity<
        argument_count_must_match<callable, sizeof...(Args), arity<callable>>>{};
  } else if constexpr (!std::is_void_v<arguments_refusal<callable, Args...>>) {
    return std::type_identity<arguments_refusal<callable, Args...>>{};
  } else {
    return find_call_refusal<callable, Args...>();
  }
}
template <class F, class... Args>
using task_refusal = typename decltype(find_task_refusal<F, Args...>())::type;

/// What stands for the result of a call that is refused: what the function says it returns, if that
/// may cross or is a raw pointer, so that the expression around the call is no second error.
template <class F>
consteval auto find_refused_result() {
  using said = typename signature<F>::result;
  using kept = kept_result<typename coroutine_traits<std::remove_cvref_t<said>>::result>;
  if constexpr (std::is_void_v<kept>) {
    return std::type_identity<void>{};
  } else if constexpr (is_raw_pointer<kept> || std::is_void_v<received_refusal<kept>>) {
    return std::type_identity<kept>{};
  } else {
    return std::type_identity<refused_result>{};
  }
}

template <class F, class... Args>
struct task_result {
  using refusal = task_refusal<F, Args...>;
  /// Here, where the type of a call is asked for: before the compiler looks at the expression that
  /// the call stands in.
  static_assert(is_reported<refusal>);
  static consteval auto find() {
    using callable = std::decay_t<F>;
    if constexpr (std::is_void_v<refusal>) {
      return std::type_identity<
          typename call_of<callable, received_types<callable, Args...>>::result>{};
    } else {
      return find_refused_result<callable>();
    }
  }
  using type = typename decltype(find())::type;
};
/// The decayed result of calling F with what its arguments become on the way; void stays void, and
/// a coroutine counts as what it returns.
template <class F, class... Args>
using task_result_t = typename task_result<F, Args...>::type;

/// Appends [code address of the factory for F and its arguments][state of F].
template <class F, class... Args>
void encode_task_callable(byte_sink& sink, const std::decay_t<F>& f) {
  static_assert(is_reported<task_refusal<F, Args...>>);
  if constexpr (std::is_void_v<task_refusal<F, Args...>>) {
    using callable = std::decay_t<F>;
    output_archive ar{sink};
    write_factory(ar, &task_of<callable, received_types<callable, Args...>>::type::make);
    save_callable(ar, f);
  }
}

template <class F, class... Received, class... Args>
void encode_arguments_as(byte_sink& sink, type_list<Received...> /*types*/, const Args&... args) {
  if constexpr ((... && blittable<wire_of<Received>>)) {
    // Numbers, the most frequent arguments of all, need no archive with its tables.
    (..., [&](const wire_of<Received>& number) {
      sink.append(&number, sizeof number);
    }(static_cast<wire_of<Received>>(args)));
  } else {
    output_archive ar{sink};
    (..., write_argument<wire_of<Received>>(ar, args));
  }
}

/// Appends the arguments as the types they are stored as, converted here, in the caller.
template <class F, class... Args>
void encode_task_arguments(byte_sink& sink, const Args&... args) {
  static_assert(is_reported<task_refusal<F, Args...>>);
  if constexpr (std::is_void_v<task_refusal<F, Args...>>) {
    encode_arguments_as<std::decay_t<F>>(sink, received_types<std::decay_t<F>, Args...>{}, args...);
  }
}

/// The callable that `encode_task_callable` wrote, ready to run here.
///
/// @throws error{unknown_function}; error{protocol_error}; what the callable's own `load` throws.
[[nodiscard]] std::unique_ptr<erased_task> decode_task_callable(std::span<const std::byte> bytes);

}  // namespace troupe::detail
