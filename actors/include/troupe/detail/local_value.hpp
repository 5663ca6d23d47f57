// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <optional>
#include <type_traits>
#include <utility>

namespace troupe::detail {

[[noreturn]] void throw_value_gone();

/// A result that is stored once, in this process, and read any number of times.
template <class R>
class local_value {
 public:
  template <class V>
  void store(V&& value) {
    value_.emplace(std::forward<V>(value));
  }
  /// A copy; of a type that cannot be copied the value itself, once.
  R get() const {
    if constexpr (std::is_copy_constructible_v<R>) {
      return *value_;
    } else {
      if (taken_.exchange(true)) {
        throw_value_gone();
      }
      return std::move(*value_);
    }
  }
  /// Destroys a result that is not the outcome after all.
  void drop() noexcept { value_.reset(); }
  /// The result itself, for its only reader.
  R take() { return std::move(*value_); }

 private:
  mutable std::optional<R> value_;
  mutable std::atomic<bool> taken_{false};
};

}  // namespace troupe::detail
