// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/future_state.hpp"
#include "troupe/future.hpp"

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

// Futures of tasks in other processes: their results are decoded when they are read.
namespace troupe::detail {

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

/// A future of one encoded value.
template <class T>
future<T> encoded_future(std::shared_ptr<future_state> state) {
  return future_access::local<T>(std::move(state), &take_one<T>);
}
/// A future of all values of a map.
template <class Vector>
future<Vector> encoded_futures(std::shared_ptr<future_state> state) {
  return future_access::local<Vector>(std::move(state), &take_all<Vector>);
}

}  // namespace troupe::detail
