// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/detail/attachment.hpp"

#include <concepts>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <typeinfo>

// What buffer<T> has below its type: a segment that processes have mapped at the same time.
namespace troupe::detail {

/// A segment as this process has it mapped. It stays mapped as long as there is a copy of
/// `segment`.
struct mapped_buffer {
  std::shared_ptr<const attachment> segment;
  std::byte* bytes = nullptr;
};

/// A segment of at least `bytes` bytes, one or more, that no other process has: fresh, or one that
/// this process made before and that no process uses any more. What is in it is not said.
///
/// @throws error{resource_exhausted}.
[[nodiscard]] mapped_buffer make_buffer(std::size_t bytes);

/// Writes what `load_buffer` reads. `what.segment` is not null.
///
/// @throws as save_attachment.
void save_buffer(output_archive& ar, const mapped_buffer& what);

/// The segment that arrived; the same mapping if this process has it already.
///
/// @throws error{protocol_error} unless it is a segment with at least `bytes` bytes that cannot
///   shrink; error{resource_exhausted}.
[[nodiscard]] mapped_buffer load_buffer(input_archive& ar, std::size_t bytes,
                                        const std::type_info& type);

/// How many elements of a buffer came.
///
/// @throws error{protocol_error} if the bytes are of a buffer with elements of another type, or
///   there are more of them than memory has addresses.
[[nodiscard]] std::size_t load_buffer_size(input_archive& ar, const std::type_info& element,
                                           std::size_t element_bytes);
void save_buffer_size(output_archive& ar, std::size_t count, const std::type_info& element,
                      std::size_t element_bytes);

/// The bytes of `count` elements.
///
/// @throws std::invalid_argument below zero, std::length_error beyond all memory.
[[nodiscard]] std::size_t checked_buffer_bytes(bool negative, unsigned long long count,
                                               std::size_t element_bytes);
[[noreturn]] void fail_buffer_index(std::size_t index, std::size_t size);

/// From `begin` to `end`, which may nest, segments are kept for the next buffers, at other times they
/// are freed. They cost descriptors and memory, so only workers and processes with pools keep them.
void begin_keeping_buffers() noexcept;
void end_keeping_buffers() noexcept;
/// Frees what is kept of the segments that other processes made: one of these has died.
void drop_idle_buffers_of_others() noexcept;

/// What can be an element of a buffer.
template <class T>
struct must_be_element_of_buffer {
  static_assert(!std::is_const_v<T> && !std::is_volatile_v<T> && !std::is_reference_v<T>,
                "troupe: the elements of a buffer are neither const nor references: for reading "
                "only, take the buffer as const troupe::buffer<T>&");
  static_assert(!std::is_pointer_v<T> && !std::is_member_pointer_v<T>,
                "troupe: a buffer of pointers cannot cross, other processes have nothing at these "
                "addresses: make a troupe::buffer of what they point to, or of indexes into it");
  static_assert(
      !std::is_polymorphic_v<T>,
      "troupe: a type with virtual functions cannot be in a buffer, as the table of these "
      "lies elsewhere in other processes: send a std::vector of them by value");
  static_assert(std::is_trivially_copyable_v<T>,
                "troupe: the elements of a buffer are trivially copyable, as std::string and "
                "containers point to memory of their own process: send a std::vector of them by "
                "value, or make a troupe::buffer of what they contain");
  static_assert(alignof(T) <= 4096, "troupe: an element of a buffer is aligned to a page at most");
  static constexpr bool value = true;
};

}  // namespace troupe::detail
