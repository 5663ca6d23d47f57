// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/error.hpp"

#include <cstddef>
#include <span>
#include <utility>
#include <variant>
#include <vector>

namespace troupe {

/// How one task ended: the bytes of its value, or its failure. Exactly one of them.
///
/// @crosses copied. The value stays encoded until `get` is called.
class outcome {
 public:
  /// The value of a task that returns nothing.
  outcome() = default;
  /// A value, encoded.
  explicit outcome(std::vector<std::byte> value) : state_(std::move(value)) {}
  /// A failure.
  explicit outcome(failure why) : state_(std::move(why)) {}

  /// True: the task has a value. False: it failed.
  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
  /// The encoded value.
  ///
  /// @throws std::bad_variant_access if there is no value.
  [[nodiscard]] std::span<const std::byte> bytes() const {
    return std::get<std::vector<std::byte>>(state_);
  }
  /// The failure.
  ///
  /// @throws std::bad_variant_access if there is no failure.
  [[nodiscard]] const failure& why() const { return std::get<failure>(state_); }

  /// Decodes the value.
  ///
  /// @throws what the task threw; what decoding throws.
  template <class T>
  [[nodiscard]] T get() const {
    throw_if_failed();
    return decode<T>(bytes());
  }
  /// Does nothing if there is a value.
  ///
  /// @throws what the task threw.
  void throw_if_failed() const {
    if (const auto* failed = std::get_if<failure>(&state_)) {
      rethrow(*failed);
    }
  }

  /// The same bytes, or the same failure.
  bool operator==(const outcome&) const = default;
  /// How the codec writes and reads it.
  template <class Archive>
  void serialize(Archive& ar) {
    ar(state_);
  }

 private:
  std::variant<std::vector<std::byte>, failure> state_;
};

}  // namespace troupe
