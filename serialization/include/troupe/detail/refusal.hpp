// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

// What is refused at compile time, and how.
//
// Whether something may be done is a question whose answer is a type: void, or a class whose
// static_assert says why not (a refusal). `static_assert(is_reported<...>)` lets a refusal speak.
// What is asked and what is reported are apart, because clang goes on with nothing that depends on a
// class in which a static_assert has failed, and complains of that as well.

namespace troupe::detail {

template <class Refusal>
inline constexpr bool is_reported = sizeof(Refusal) != 0;
template <>
inline constexpr bool is_reported<void> = true;

/// In the place of the result of a call that was refused. Converts to anything and can be written to
/// any stream, so that the refusal is the compiler's only error and not the last of many.
struct refused_result {
  template <class T>
  operator T() const;  // NOLINT(google-explicit-constructor)
  template <class Stream>
  friend Stream& operator<<(Stream& to, const refused_result& /*none*/) {
    return to;
  }
};

// Refusals of processes and of threads.

template <class F, std::size_t Given, std::size_t Needed>
struct argument_count_must_match {
  static_assert(Given == Needed,
                "troupe: the number of arguments is not the number of parameters; "
                "default arguments are not applied to calls in a worker");
};

template <class Item, std::size_t Needed>
struct pairs_and_tuples_need_starmap {
  static_assert(std::is_void_v<Item>,
                "troupe: the function takes several parameters and is given one pair or tuple: use "
                "starmap (or starmap_async), which takes it apart, or std::apply in a call");
};

/// A pair or tuple alone, of as many elements as there are parameters.
template <std::size_t Needed, class... Args>
inline constexpr bool is_taken_apart = false;
template <std::size_t Needed, class A, class B>
inline constexpr bool is_taken_apart<Needed, std::pair<A, B>> = Needed == 2;
template <std::size_t Needed, class... Ts>
inline constexpr bool is_taken_apart<Needed, std::tuple<Ts...>> = Needed == sizeof...(Ts);

}  // namespace troupe::detail
