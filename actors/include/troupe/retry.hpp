// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace troupe {

template <class T>
struct enable_repeat;

namespace detail {

template <class T>
concept range_with_values = std::ranges::range<T> && requires { typename T::value_type; };

/// What is known to be copyable and not only said to be: a vector of unique_ptrs has a copy
/// constructor, too, which does not compile.
template <class T>
struct truly_copyable : std::is_trivially_copy_constructible<T> {};
template <class T>
  requires(range_with_values<T> && std::is_copy_constructible_v<T> &&
           !std::is_trivially_copy_constructible_v<T>)
struct truly_copyable<T> : enable_repeat<typename T::value_type> {};
template <class C, class Traits, class Allocator>
struct truly_copyable<std::basic_string<C, Traits, Allocator>> : std::true_type {};
template <>
struct truly_copyable<std::exception_ptr> : std::true_type {};
template <class T>
struct truly_copyable<std::shared_ptr<T>> : std::true_type {};
template <class T>
struct truly_copyable<std::weak_ptr<T>> : std::true_type {};
template <class S>
struct truly_copyable<std::function<S>> : std::true_type {};
template <class T>
struct truly_copyable<std::optional<T>> : enable_repeat<T> {};
template <class A, class B>
struct truly_copyable<std::pair<A, B>> : std::conjunction<enable_repeat<A>, enable_repeat<B>> {};
template <class... T>
struct truly_copyable<std::tuple<T...>> : std::conjunction<enable_repeat<T>...> {};
template <class... T>
struct truly_copyable<std::variant<T...>> : std::conjunction<enable_repeat<T>...> {};

}  // namespace detail

/// Says whether an argument of this type can be kept for a second attempt
/// (`task_options::retry_if`) in a thread pool, which moves arguments otherwise. True for what is
/// trivially copyable, for strings and shared pointers, and for standard containers of such. A
/// program's own class that can be copied is made one of them by
///
///     template <> struct troupe::enable_repeat<my_class> : std::true_type {};
///
/// A process pool needs none of this: its arguments are kept as bytes.
template <class T>
struct enable_repeat : detail::truly_copyable<std::remove_const_t<T>> {};

}  // namespace troupe
