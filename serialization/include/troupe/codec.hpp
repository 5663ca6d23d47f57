// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/byte_sink.hpp"
#include "troupe/detail/crossing.hpp"
#include "troupe/detail/std_types.hpp"

#include <cstddef>
#include <span>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

/// C++ functions in worker processes, and the objects that processes share.
namespace troupe {

/// A `T` can be written, all the way down through the standard's containers.
template <class T>
concept encodable = std::is_void_v<detail::cannot_encode<T>>;

/// A `T` can be read. It must also be default-constructible, and so must its elements.
template <class T>
concept decodable = detail::is_decodable<T>;

/// A `T` can cross to another process: it can be written here and read there.
///
/// What crosses: arithmetic types, enums, `std::byte`, C arrays; string, vector, array, deque,
/// list, forward_list, set and map in all their forms, pair, tuple, optional, variant,
/// unique_ptr, shared_ptr, weak_ptr, chrono durations and time points, complex, bitset;
/// functions and member functions; empty classes; and every class with a cereal `serialize`,
/// `save`/`load` or `save_minimal`/`load_minimal`. Include `<cereal/types/NAME.hpp>` for
/// valarray, queue, stack, atomic and polymorphic pointers (memory.hpp, polymorphic.hpp), and
/// `troupe/filesystem.hpp` for paths: they cost compile time that most files need not pay.
///
/// An enum is checked when decoding if `bool is_valid(E)` is found by argument-dependent lookup.
template <class T>
concept serializable = encodable<T> && decodable<T>;

/// Appends the bytes of `value` to `sink`.
///
/// @throws error{nesting_too_deep}; error{argument_encode_failed} for handles of shared objects,
///   which plain bytes cannot carry; what the sink throws; what the type's own `save` throws. The
///   sink may then hold a part of the value: truncate it.
template <class T>
void encode(detail::byte_sink& sink, const T& value) {
  using refusal = detail::encode_refusal<T>;
  static_assert(detail::is_reported<refusal>);
  if constexpr (detail::blittable<T>) {
    sink.append(&value, sizeof value);
  } else if constexpr (std::is_void_v<refusal>) {
    output_archive{sink}(value);
  }
}

/// The bytes of `value`.
///
/// @throws as the other `encode`.
template <class T>
[[nodiscard]] std::vector<std::byte> encode(const T& value) {
  detail::byte_buffer buffer;
  encode(buffer, value);
  return {buffer.bytes().begin(), buffer.bytes().end()};
}

/// The value whose bytes are exactly `bytes`, which are not trusted.
///
/// Allocates for what was really read, no matter what lengths the bytes claim: elements of containers
/// and what pointers point to take at most 128 times the bytes, and 64 MiB, in memory. More is
/// refused: a million of empty optionals of 1 KiB each, for example.
///
/// @throws error{protocol_error} with type, offset and reason; error{nesting_too_deep}; what the
///   type's own `load` throws.
template <class T>
[[nodiscard]] T decode(std::span<const std::byte> bytes) {
  static_assert(std::is_same_v<T, std::remove_cvref_t<T>>, "troupe: decode a plain value type");
  using refusal = detail::decode_refusal<T>;
  static_assert(detail::is_reported<refusal>);
  if constexpr (std::is_void_v<refusal>) {
    input_archive ar{bytes};
    T value{};
    detail::load_value(ar, value);
    ar.finish(typeid(T));
    return value;
  }
}

}  // namespace troupe
