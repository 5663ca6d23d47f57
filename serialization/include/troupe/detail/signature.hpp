// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/refusal.hpp"

#include <cstddef>
#include <tuple>
#include <type_traits>

// The parameters of a callable.

namespace troupe::detail {

/// In the place of a parameter: the argument itself says which type it is.
struct as_argument;

/// The result and the parameters of a callable, if it has one known list of them.
struct unknown_signature {
  static constexpr bool known = false;
  using result = refused_result;
  using parameters = std::tuple<>;
};
template <class R, class... Params>
struct known_signature {
  static constexpr bool known = true;
  using result = R;
  // Wrapped, because a tuple of references or of incomplete types must not be instantiated.
  using parameters = std::tuple<std::type_identity<Params>...>;
};

template <class Member>
struct member_signature;
// A type of its own for each of the twelve ways to qualify a member function.
// NOLINTBEGIN(bugprone-macro-parentheses): qualifiers in parentheses are none
#define TROUPE_MEMBER_SIGNATURE(QUALIFIERS)                         \
  template <class C, class R, class... Params>                      \
  struct member_signature<R (C::*)(Params...) QUALIFIERS> {         \
    using as_functor = known_signature<R, Params...>;               \
    using as_function = known_signature<R, as_argument, Params...>; \
  };
TROUPE_MEMBER_SIGNATURE()
TROUPE_MEMBER_SIGNATURE(const)
TROUPE_MEMBER_SIGNATURE(&)
TROUPE_MEMBER_SIGNATURE(const&)
TROUPE_MEMBER_SIGNATURE(&&)
TROUPE_MEMBER_SIGNATURE(const&&)
TROUPE_MEMBER_SIGNATURE(noexcept)
TROUPE_MEMBER_SIGNATURE(const noexcept)
TROUPE_MEMBER_SIGNATURE(& noexcept)
TROUPE_MEMBER_SIGNATURE(const& noexcept)
TROUPE_MEMBER_SIGNATURE(&& noexcept)
TROUPE_MEMBER_SIGNATURE(const&& noexcept)
#undef TROUPE_MEMBER_SIGNATURE
// NOLINTEND(bugprone-macro-parentheses)

template <class F>
concept has_one_call_operator = std::is_class_v<F> && requires { &F::operator(); };

/// Generic lambdas, overloaded call operators and C variadics have no single signature.
template <class F>
struct signature : unknown_signature {};
template <has_one_call_operator F>
struct signature<F> : member_signature<decltype(&F::operator())>::as_functor {};
template <class R, class... Params>
struct signature<R (*)(Params...)> : known_signature<R, Params...> {};
template <class R, class... Params>
struct signature<R (*)(Params...) noexcept> : known_signature<R, Params...> {};
template <class F>
  requires std::is_member_function_pointer_v<F>
struct signature<F> : member_signature<F>::as_function {};

template <class F>
inline constexpr std::size_t arity =
    signature<F>::known ? std::tuple_size_v<typename signature<F>::parameters> : 0;

template <class F, std::size_t I>
struct parameter_at {
  using type = as_argument;
};
template <class F, std::size_t I>
  requires(signature<F>::known && I < arity<F>)
struct parameter_at<F, I> : std::tuple_element_t<I, typename signature<F>::parameters> {};
template <class F, std::size_t I>
using parameter = typename parameter_at<F, I>::type;

}  // namespace troupe::detail
