// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <string>
#include <string_view>
#include <type_traits>

// What becomes of the result of a call, whether it is encoded or not.
namespace troupe::detail {

template <class T>
inline constexpr bool is_text_pointer = std::is_same_v<T, const char*> || std::is_same_v<T, char*>;

/// What points at text is kept as text.
template <class R>
using kept_result = std::conditional_t<is_text_pointer<std::decay_t<R>> ||
                                           std::is_same_v<std::decay_t<R>, std::string_view>,
                                       std::string, std::decay_t<R>>;

/// Specialised by troupe/task.hpp for the type of its coroutines, so that no other header needs
/// Asio:
///   result                  what the coroutine returns at its end
///   run(make)               runs the coroutine that `make()` makes to its end, returns its result
///   begin(run, make, keep)  begins it; `keep(result, sink)` encodes what it returns
template <class R>
struct coroutine_traits {
  static constexpr bool is_coroutine = false;
  using result = R;
};

}  // namespace troupe::detail
