// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/buffer_segment.hpp"

#include <algorithm>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <ranges>
#include <span>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace troupe {

/// Elements in memory that crosses to other processes without a copy: for results and arguments of
/// megabytes, which a vector would copy twice on its way.
///
/// Filled where it is made, and read where it arrives: both processes have the same memory mapped.
/// Copies of a buffer are the same elements, in this process and in others, as with numpy arrays in
/// shared memory; it has no lock. So a process that goes on writing after it has sent the buffer
/// sees to it that no other one reads meanwhile, and a task may be given a buffer to fill a part of
/// it. Taken as `const buffer<T>&` it is for reading.
///
/// A contiguous range of `T`, which is trivially copyable; the size never changes. Memory is taken in
/// pages of 4 KiB, and each buffer takes one descriptor, two once it was sent, so small values are
/// better sent as they are. As a fresh page costs more than filling it, a worker, and a process that
/// has pools, keep memory that they made and that no process uses any more, for their next buffers:
/// 256 MiB and 16 segments at most.
///
/// @threads any for different elements, and for reading; the program orders all else. One handle:
///   as a std::shared_ptr.
/// @crosses as the same memory: as an argument, a result, an item of a queue, a message of a
///   connection over a Unix socket, inside other values, and from there to further processes; at
///   most 64 of them in one argument list or result. Not over TCP, not to another machine, not in a
///   priority_queue, which compares bytes.
/// @worker_dies what it has written stays, whole or in part. The memory lives as long as a process
///   has a handle, or a message with one is on its way, and no longer.
template <class T>
class buffer {
  static_assert(detail::must_be_element_of_buffer<T>::value);

 public:
  /// @{
  /// What the standard asks of a range.
  using value_type = T;
  using element_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = T&;
  using const_reference = const T&;
  using pointer = T*;
  using const_pointer = const T*;
  using iterator = T*;
  using const_iterator = const T*;
  /// @}

  /// No elements and no memory: something to assign to, or to decode into.
  buffer() noexcept = default;
  /// `count` elements as `new T[count]` makes them: numbers are not set, and have any values until
  /// they are written.
  ///
  /// @throws std::invalid_argument if it is negative; std::length_error if it is larger than any
  ///   memory; error{resource_exhausted} without memory or descriptors.
  template <std::integral N>
    requires(!std::same_as<N, bool>)
  explicit buffer(N count) : buffer{memory_for(count)} {
    if constexpr (!std::is_trivially_default_constructible_v<T>) {
      static_assert(std::is_default_constructible_v<T>,
                    "troupe: elements without a default constructor need a value to copy: "
                    "troupe::buffer<T>{count, value}");
      std::uninitialized_default_construct_n(data(), size_);
    }
  }
  /// `count` copies of `value`.
  ///
  /// @throws as the constructor with a count alone.
  template <std::integral N>
    requires(!std::same_as<N, bool>)
  buffer(N count, const T& value) : buffer{memory_for(count)} {
    std::uninitialized_fill_n(data(), size_, value);
  }
  /// As many elements as the range has, copies of them.
  ///
  /// @throws error{resource_exhausted}; what reading the range throws.
  template <std::ranges::input_range Range>
    requires(std::convertible_to<std::ranges::range_reference_t<Range>, T> &&
             !std::same_as<std::remove_cvref_t<Range>, buffer>)
  explicit buffer(Range&& elements) : buffer{copied{}, sized(std::forward<Range>(elements))} {}

  /// @{
  /// Another handle of the same elements.
  buffer(const buffer&) noexcept = default;
  buffer& operator=(const buffer&) noexcept = default;
  /// @}
  /// @{
  /// Takes the handle; `other` is empty then.
  buffer(buffer&& other) noexcept
      : memory_{std::exchange(other.memory_, {})}, size_{std::exchange(other.size_, 0)} {}
  buffer& operator=(buffer&& other) noexcept {
    if (this != &other) {
      memory_ = std::exchange(other.memory_, {});
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  /// @}
  ~buffer() = default;

  /// @{
  /// The first element, aligned to a page; null if there are none. Valid, as all that the other
  /// members return, as long as there is a copy of this buffer in this process.
  [[nodiscard]] T* data() noexcept { return reinterpret_cast<T*>(memory_.bytes); }
  [[nodiscard]] const T* data() const noexcept { return reinterpret_cast<const T*>(memory_.bytes); }
  /// @}
  /// The number of elements.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// The number of bytes that they take.
  [[nodiscard]] std::size_t size_bytes() const noexcept { return size_ * sizeof(T); }
  /// There are no elements.
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

  /// @{
  /// The elements in order.
  [[nodiscard]] T* begin() noexcept { return data(); }
  [[nodiscard]] T* end() noexcept { return data() + size_; }
  [[nodiscard]] const T* begin() const noexcept { return data(); }
  [[nodiscard]] const T* end() const noexcept { return data() + size_; }
  [[nodiscard]] std::span<T> span() noexcept { return {data(), size_}; }
  [[nodiscard]] std::span<const T> span() const noexcept { return {data(), size_}; }
  /// @}
  /// @{
  /// Their bytes.
  [[nodiscard]] std::span<std::byte> bytes() noexcept { return {memory_.bytes, size_bytes()}; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return {memory_.bytes, size_bytes()};
  }
  /// @}

  /// @{
  /// An element. An `index` beyond the end ends the process if NDEBUG is not defined, and is not
  /// checked otherwise.
  [[nodiscard]] T& operator[](std::size_t index) noexcept {
    assert(index < size_ && "troupe: an index beyond the end of a buffer");
    return data()[index];
  }
  [[nodiscard]] const T& operator[](std::size_t index) const noexcept {
    assert(index < size_ && "troupe: an index beyond the end of a buffer");
    return data()[index];
  }
  /// @}
  /// @{
  /// An element.
  ///
  /// @throws std::out_of_range.
  [[nodiscard]] T& at(std::size_t index) {
    check(index);
    return data()[index];
  }
  [[nodiscard]] const T& at(std::size_t index) const {
    check(index);
    return data()[index];
  }
  /// @}

  /// The same memory in this process, not equal elements; or both empty.
  [[nodiscard]] friend bool operator==(const buffer& a, const buffer& b) noexcept {
    return a.memory_.bytes == b.memory_.bytes;
  }

  /// How the codec writes a buffer: what names its memory, not its elements.
  ///
  /// @throws error{argument_encode_failed} where no attachments can travel, as in plain bytes.
  void save(output_archive& ar) const {
    detail::save_buffer_size(ar, size_, typeid(T), sizeof(T));
    if (size_ != 0) {
      detail::save_buffer(ar, memory_);
    }
  }
  /// How the codec reads a buffer.
  ///
  /// @throws error{protocol_error} if the bytes are no buffer of `T`; error{resource_exhausted}.
  void load(input_archive& ar) {
    const std::size_t count = detail::load_buffer_size(ar, typeid(T), sizeof(T));
    memory_ = count == 0 ? detail::mapped_buffer{}
                         : detail::load_buffer(ar, count * sizeof(T), typeid(buffer));
    size_ = count;
  }

 private:
  struct copied {};
  struct wanted {
    std::size_t bytes;
  };

  explicit buffer(wanted memory)
      : memory_{memory.bytes == 0 ? detail::mapped_buffer{} : detail::make_buffer(memory.bytes)},
        size_{memory.bytes / sizeof(T)} {}
  template <class Range>
  buffer(copied /*tag*/, const Range& elements)
      : buffer{memory_for(std::ranges::distance(elements))} {
    std::ranges::uninitialized_copy(elements, span());
  }

  template <std::integral N>
  static wanted memory_for(N count) {
    return {detail::checked_buffer_bytes(std::cmp_less(count, 0),
                                         static_cast<unsigned long long>(count), sizeof(T))};
  }

  /// A range whose length is known only when it was read, or that is not read as const, goes
  /// through a vector.
  template <class Range>
  static decltype(auto) sized(Range&& from) {
    if constexpr (std::ranges::forward_range<const std::remove_reference_t<Range>> &&
                  std::same_as<std::ranges::range_value_t<Range>, T>) {
      return std::forward<Range>(from);
    } else {
      std::vector<T> read;
      for (auto&& element : from) {
        read.push_back(static_cast<T>(element));
      }
      return read;
    }
  }
  void check(std::size_t index) const {
    if (index >= size_) {
      detail::fail_buffer_index(index, size_);
    }
  }

  detail::mapped_buffer memory_;
  std::size_t size_ = 0;
};

/// `buffer{range}` has elements of the range's type.
template <std::ranges::input_range Range>
explicit buffer(Range&&) -> buffer<std::ranges::range_value_t<Range>>;

}  // namespace troupe
