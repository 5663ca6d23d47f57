// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/attachment.hpp"
#include "troupe/detail/callable.hpp"

#include <concepts>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace troupe {

/// A function with its first arguments bound; made by `partial`.
///
/// @crosses copied, if the function and what is bound can cross.
template <class F, class... Bound>
class partial_function {
 public:
  /// An object for the codec to decode into; calling it calls `F{}` with `Bound{}...`.
  partial_function()
    requires(std::is_default_constructible_v<F> && (... && std::is_default_constructible_v<Bound>))
  = default;
  /// Binds the values as they are; `partial` converts them to the parameters' types first.
  explicit partial_function(F f, std::tuple<Bound...> bound)
      : f_(std::move(f)), bound_(std::move(bound)) {}

  /// Calls the function with what is bound, then `args`.
  ///
  /// @throws what the function throws.
  template <class... Args>
  decltype(auto) operator()(Args&&... args) const
    requires(std::is_invocable_v<const F&, const Bound&..., Args...>)
  {
    return std::apply(
        [&](const auto&... bound) -> decltype(auto) {
          return std::invoke(f_, bound..., std::forward<Args>(args)...);
        },
        bound_);
  }

  /// @{
  /// How the codec writes and reads it.
  void save(output_archive& ar) const {
    detail::save_callable(ar, f_);
    std::apply([&](const auto&... bound) { (ar(bound), ...); }, bound_);
  }
  void load(input_archive& ar) { *this = load_whole(ar); }
  /// @}

  /// Reads one whose function has no default constructor, so that there is nothing to load into.
  [[nodiscard]] static partial_function load_whole(input_archive& ar) {
    F f = detail::load_callable<F>(ar);
    return partial_function{std::move(f), std::tuple<Bound...>{load_bound<Bound>(ar)...}};
  }

 private:
  template <class T>
  static T load_bound(input_archive& ar) {
    T value{};
    detail::load_value(ar, value);
    return value;
  }

  F f_;
  std::tuple<Bound...> bound_;
};

namespace detail {

template <class F, class... Bound>
inline constexpr bool is_partial<partial_function<F, Bound...>> = true;

template <std::size_t Count, class R, class Parameters>
struct without_first;
template <std::size_t Count, class R, class... Params>
struct without_first<Count, R, std::tuple<Params...>> {
  template <std::size_t... I>
  static auto rest(std::index_sequence<I...>)
      -> known_signature<R,
                         typename std::tuple_element_t<I + Count, std::tuple<Params...>>::type...>;
  using type = decltype(rest(std::make_index_sequence<sizeof...(Params) - Count>{}));
};

template <class F, class... Bound>
  requires(signature<F>::known && sizeof...(Bound) <= arity<F>)
struct signature<partial_function<F, Bound...>>
    : without_first<sizeof...(Bound), typename signature<F>::result,
                    typename signature<F>::parameters>::type {};

/// What `partial` keeps: the same as what a call would send, as an object that owns itself.
template <class Received>
struct bound_as {
  using type = Received;
};
template <>
struct bound_as<text_view> {
  using type = std::string;
};
template <class T>
struct bound_as<elements_view<T>> {
  using type = std::vector<T>;
};

/// A string that is passed as const char*.
class bound_text {
 public:
  bound_text() = default;
  explicit bound_text(std::string text) : text_(std::move(text)) {}
  operator const char*() const { return text_.c_str(); }  // NOLINT(google-explicit-constructor)
  template <class Archive>
  void serialize(Archive& ar) {
    ar(text_);
  }

 private:
  std::string text_;
};
template <>
struct bound_as<c_text> {
  using type = bound_text;
};

template <class T, class Arg>
T bind_value(Arg&& given) {
  if constexpr (std::is_same_v<T, bound_text>) {
    return T{bind_value<std::string>(std::forward<Arg>(given))};
  } else if constexpr (std::is_convertible_v<Arg, const char*> && std::is_same_v<T, std::string>) {
    return T{checked_text(given)};
  } else if constexpr (std::is_convertible_v<Arg, T>) {
    return static_cast<T>(std::forward<Arg>(given));
  } else if constexpr (std::is_same_v<T, std::string>) {
    return T{std::string_view{given}};
  } else {
    const std::span<const typename T::value_type> elements{given};
    return T(elements.begin(), elements.end());
  }
}

template <class F, class... Args, std::size_t... I>
auto make_partial(F&& f, std::index_sequence<I...> /*indices*/, Args&&... args) {
  using callable = std::decay_t<F>;
  using made = partial_function<
      callable,
      typename bound_as<typename passing<parameter<callable, I>, Args>::received>::type...>;
  return made{
      std::forward<F>(f),
      {bind_value<
          typename bound_as<typename passing<parameter<callable, I>, Args>::received>::type>(
          std::forward<Args>(args))...}};
}

template <class F, std::size_t Given>
struct too_many_bound {
  static_assert(std::is_void_v<F>,
                "troupe: partial(f, values...) binds more values than f has parameters");
};

template <class F, class... Args>
consteval auto find_partial_refusal() {
  if constexpr (!std::is_void_v<callable_refusal<F>>) {
    return std::type_identity<callable_refusal<F>>{};
  } else if constexpr (signature<F>::known && (sizeof...(Args) > arity<F>)) {
    return std::type_identity<too_many_bound<F, sizeof...(Args)>>{};
  } else {
    return std::type_identity<arguments_refusal<F, Args...>>{};
  }
}
template <class F, class... Args>
using partial_refusal = typename decltype(find_partial_refusal<F, Args...>())::type;

}  // namespace detail

/// `f` with its first arguments bound to copies of `bound`.
///
/// If `f` has one known signature, the values are converted to its parameters' types by this call;
/// text that is bound to a view or to `const char*` is kept as a string. More values than `f` has
/// parameters, and values that do not convert, are compile errors.
///
/// @follows functools.partial.
/// @crosses as a callable and as a value, if `f` and the values can cross.
/// @throws std::invalid_argument for text that is a null pointer; what copying a value throws.
template <class F, class... Args>
[[nodiscard]] auto partial(F&& f, Args&&... bound) {
  using refusal = detail::partial_refusal<std::decay_t<F>, Args...>;
  static_assert(detail::is_reported<refusal>);
  if constexpr (std::is_void_v<refusal>) {
    return detail::make_partial(std::forward<F>(f), std::index_sequence_for<Args...>{},
                                std::forward<Args>(bound)...);
  }
}

class bound_call;

/// `f(args...)`, encoded at once, to be run in another process: for options such as `.initializer`.
///
/// @throws what encoding the arguments throws.
template <class F, class... Args>
[[nodiscard]] bound_call call(F&& f, Args&&... args);

/// A call of some function with its arguments, as plain bytes; empty by default.
///
/// @crosses copied; handles of shared objects among the arguments travel as attachments.
class bound_call {
 public:
  /// A call of nothing.
  bound_call() = default;
  /// A call of `f`, which can be called without arguments and can cross.
  ///
  /// @throws what encoding `f` throws.
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, bound_call> &&
             std::is_invocable_v<std::decay_t<F>&>)
  // NOLINTNEXTLINE(google-explicit-constructor): so that `.initializer = load_model` works
  bound_call(F&& f) : bound_call(call(std::forward<F>(f))) {}

  /// True: there is something to call.
  [[nodiscard]] explicit operator bool() const noexcept { return !callable_.empty(); }
  /// The same bytes, and the same shared objects.
  bool operator==(const bound_call&) const = default;

  /// The encoded function, for `detail::decode_task_callable`.
  [[nodiscard]] std::span<const std::byte> callable() const noexcept { return callable_; }
  /// The encoded arguments, for `detail::erased_task::run`.
  [[nodiscard]] std::span<const std::byte> arguments() const noexcept { return arguments_; }
  /// The shared objects that the function and the arguments refer to.
  [[nodiscard]] const detail::attachment_list& attachments() const noexcept { return attachments_; }

  /// Runs it in this process and drops its result; does nothing if it is empty.
  ///
  /// @throws what the function throws; error{unknown_function}; what decoding throws.
  void operator()() const;

  /// @{
  /// How the codec writes and reads it.
  void save(output_archive& ar) const;
  void load(input_archive& ar);
  /// @}

 private:
  template <class F, class... Args>
  friend bound_call call(F&& f, Args&&... args);
  bound_call(const detail::byte_buffer& callable, const detail::byte_buffer& arguments,
             detail::attachment_list attachments);

  std::vector<std::byte> callable_;
  std::vector<std::byte> arguments_;
  detail::attachment_list attachments_;
};

template <class F, class... Args>
bound_call call(F&& f, Args&&... args) {
  detail::byte_buffer callable;
  detail::byte_buffer arguments;
  detail::attachment_list attachments;
  using refusal = detail::task_refusal<F, Args...>;
  static_assert(detail::is_reported<refusal>);
  if constexpr (std::is_void_v<refusal>) {
    const detail::attachment_collector scope{attachments};
    detail::encode_task_callable<F, Args...>(callable, f);
    detail::encode_task_arguments<F, Args...>(arguments, args...);
  }
  return {callable, arguments, std::move(attachments)};
}

/// Proof that a name was registered; carries nothing else.
class registration {
 public:
  /// Made by `troupe::name`.
  explicit registration(std::string_view name) : name_(name) {}
  /// The name that was registered.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  std::string name_;
};

namespace detail {
using any_function = void (*)();
registration register_name(std::string_view name, any_function function,
                           const std::type_info& type);
[[nodiscard]] any_function find_function(const std::string& name, const std::type_info& type);
}  // namespace detail

/// Gives `function` a name that means the same in programs of other builds.
///
/// Written at namespace scope: `static const auto resize_name = troupe::name("resize", resize);`
///
/// @threads any.
/// @throws std::logic_error if another function has the name; std::invalid_argument for an empty
///   name or a null function.
template <class R, class... Args>
registration name(std::string_view stable_name, R (*function)(Args...)) {
  return detail::register_name(stable_name, reinterpret_cast<detail::any_function>(function),
                               typeid(R(Args...)));
}

/// A function that is looked up by its name in the process where it is called; made by `named`.
///
/// @crosses copied, as its name.
template <class Signature>
class named_function;

/// The only form there is: for a function type.
template <class R, class... Args>
class named_function<R(Args...)> {
 public:
  /// An object for the codec to decode into; calling it throws error{unknown_function}.
  named_function() = default;
  /// The function that will be registered as `name` where it is called; it need not be here.
  explicit named_function(std::string_view name) : name_(name) {}

  /// Looks the function up and calls it.
  ///
  /// @throws error{unknown_function} if this process has no function of that name and type; what
  ///   the function throws.
  R operator()(Args... args) const {
    const auto function =
        reinterpret_cast<R (*)(Args...)>(detail::find_function(name_, typeid(R(Args...))));
    return function(std::forward<Args>(args)...);
  }
  /// The name it is looked up by.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// The same name.
  bool operator==(const named_function&) const = default;

  /// How the codec writes and reads it.
  template <class Archive>
  void serialize(Archive& ar) {
    ar(name_);
  }

 private:
  std::string name_;
};

/// The function that is registered as `stable_name` where it will be called: `named<int(int)>
/// ("square")`. Only the name crosses, so the other process may be of another build.
template <class Signature>
[[nodiscard]] named_function<Signature> named(std::string_view stable_name) {
  return named_function<Signature>{stable_name};
}

}  // namespace troupe
