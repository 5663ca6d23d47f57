// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/guarded_memory.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <ranges>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace troupe {

namespace detail {

template <class Range, class T>
concept elements_for = std::ranges::input_range<Range> &&
                       std::convertible_to<std::ranges::range_reference_t<Range>, T>;

template <class N>
concept element_count = std::integral<N> && !std::same_as<N, bool>;

/// What array and raw_array have in common; `Handle` is which of the two.
template <class Handle, class T>
class array_handle : public object_handle {
  static_assert(must_be_shareable<T>::value);

 public:
  using value_type = T;

  /// Elements; never changes.
  [[nodiscard]] std::size_t size() const { return either().payload_bytes() / sizeof(T); }
  [[nodiscard]] bool empty() const { return size() == 0; }

  void save(output_archive& ar) const { save_handle(ar); }
  void load(input_archive& ar) {
    load_handle(ar, array_rules, tag());
    if (object_->payload_bytes() % sizeof(T) != 0) {
      ar.fail("its size is no whole number of elements", typeid(Handle));
    }
  }

 protected:
  static std::uint64_t tag() {
    static const std::uint64_t made = type_tag_of(typeid(Handle), sizeof(T));
    return made;
  }
  static region_spec spec(std::size_t bytes, const object_options& options) {
    return {.rules = &array_rules,
            .name = options.name,
            .payload_bytes = bytes,
            .type_tag = tag(),
            .unguarded = !Handle::has_lock};
  }
  array_handle() : object_handle{region::create_default(spec(0, {}))} {}
  array_handle(std::size_t bytes, const object_options& options)
      : object_handle{region::create(spec(bytes, options))} {}

  template <element_count N>
  static std::size_t bytes_of(N count) {
    return checked_bytes(std::cmp_less(count, 0), static_cast<unsigned long long>(count),
                         sizeof(T));
  }
  [[nodiscard]] std::span<T> elements() const {
    region& object = get();
    return {reinterpret_cast<T*>(object.payload()), object.payload_bytes() / sizeof(T)};
  }
  template <class Range>
  void fill(const Range& from) const {
    std::ranges::copy(from, elements().begin());
  }
  /// A range whose length is known only when it was read goes through a vector.
  template <class Range>
  static decltype(auto) sized(Range&& from) {
    if constexpr (std::ranges::forward_range<Range>) {
      return std::forward<Range>(from);
    } else {
      std::vector<T> read;
      for (auto&& element : from) {
        read.push_back(static_cast<T>(element));
      }
      return read;
    }
  }
  template <class Range>
  static void copy_in(std::span<T> to, Range&& from) {
    auto&& given = sized(std::forward<Range>(from));
    if (static_cast<std::size_t>(std::ranges::distance(given)) != to.size()) {
      throw std::length_error{"troupe: a shared array keeps its size: assign as many elements"};
    }
    std::ranges::copy(given, to.begin());
  }
};

}  // namespace detail

/// An array of a fixed size, of a trivially copyable type, that processes share, with a lock.
///
/// Copies of it are the same array.
///
/// @follows Python's Array.
/// @returns from a size, all zeros; from a list or a range, its elements.
/// @crosses the same array at both ends. A holder dies: the next guard gets the lock and says so by
///   `inherited()`.
template <class T>
class array : public detail::array_handle<array<T>, T> {
  using base = detail::array_handle<array<T>, T>;

 public:
  static constexpr bool has_lock = true;

  /// The lock, and through it the elements: a contiguous range.
  class [[nodiscard]] guard : public detail::data_lock {
   public:
    using value_type = T;
    [[nodiscard]] T* begin() const noexcept { return elements_.data(); }
    [[nodiscard]] T* end() const noexcept { return elements_.data() + elements_.size(); }
    [[nodiscard]] T* data() const noexcept { return elements_.data(); }
    [[nodiscard]] std::size_t size() const noexcept { return elements_.size(); }
    [[nodiscard]] bool empty() const noexcept { return elements_.empty(); }
    [[nodiscard]] T& operator[](std::size_t index) const noexcept { return elements_[index]; }
    /// @throws std::out_of_range.
    [[nodiscard]] T& at(std::size_t index) const {
      detail::check_index(index, elements_.size());
      return elements_[index];
    }
    [[nodiscard]] std::span<T> span() const noexcept { return elements_; }

   private:
    friend class array;
    explicit guard(std::shared_ptr<detail::region> object)
        : data_lock{std::move(object)},
          elements_{reinterpret_cast<T*>(data_lock::data()), size_bytes() / sizeof(T)} {}
    std::span<T> elements_;
  };

  /// An empty array: something to assign to, or to decode into.
  array() = default;
  /// `count` elements, all bits zero.
  ///
  /// @throws std::invalid_argument if it is negative; std::length_error; error{resource_exhausted}.
  template <detail::element_count N>
  explicit array(N count, const object_options& options = {})
      : base{base::bytes_of(count), options} {}
  array(std::initializer_list<T> elements, const object_options& options = {})
      : base{base::bytes_of(elements.size()), options} {
    base::fill(elements);
  }
  template <detail::elements_for<T> Range>
    requires(!std::same_as<std::remove_cvref_t<Range>, array>)
  explicit array(Range&& elements, const object_options& options = {})
      : array{base::sized(std::forward<Range>(elements)), options, 0} {}

  /// @blocks until the lock is the caller's.
  /// @throws std::system_error{resource_deadlock_would_occur} if the thread has a guard of it.
  guard lock() {
    static_cast<void>(this->either());
    return guard{this->object_};
  }

  /// Without the lock, for elements that nobody else uses at the moment: else take it, and use the
  /// guard's.
  ///
  /// @throws error{not_on_this_machine} if the array is on another one: use the guard's.
  [[nodiscard]] T& operator[](std::size_t index) const { return base::elements()[index]; }
  /// The same; throws std::out_of_range.
  [[nodiscard]] T& at(std::size_t index) const {
    const std::span<T> all = base::elements();
    detail::check_index(index, all.size());
    return all[index];
  }

  /// A copy of all elements, under the lock.
  [[nodiscard]] std::vector<T> to_vector() const {
    static_cast<void>(this->either());
    const guard held{this->object_};
    return std::vector<T>(held.begin(), held.end());
  }
  /// Overwrites all elements, under the lock.
  ///
  /// @throws std::length_error unless there are as many, and nothing is changed.
  template <detail::elements_for<T> Range>
  void assign(Range&& elements) {
    static_cast<void>(this->either());
    const guard held{this->object_};
    base::copy_in(held.span(), std::forward<Range>(elements));
  }

  [[nodiscard]] bool operator==(const array& other) const noexcept { return this->same(other); }

 private:
  template <class Range>
  array(Range&& elements, const object_options& options, int /*sized*/)
      : base{base::bytes_of(static_cast<std::size_t>(std::ranges::distance(elements))), options} {
    base::fill(elements);
  }
};

template <std::ranges::input_range Range>
explicit array(Range&&) -> array<std::ranges::range_value_t<Range>>;

/// An array that processes share, without a lock: whoever writes an element sees to it that nobody
/// else uses it meanwhile. A contiguous range, converts to std::span.
///
/// Copies of it are the same array.
///
/// @follows Python's RawArray.
/// @crosses the same array at both ends.
template <class T>
class raw_array : public detail::array_handle<raw_array<T>, T> {
  using base = detail::array_handle<raw_array<T>, T>;

 public:
  static constexpr bool has_lock = false;
  /// An empty array: something to assign to, or to decode into.
  raw_array() = default;
  /// `count` elements, all bits zero.
  ///
  /// @throws std::invalid_argument if it is negative; std::length_error; error{resource_exhausted}.
  template <detail::element_count N>
  explicit raw_array(N count, const object_options& options = {})
      : base{base::bytes_of(count), options} {}
  raw_array(std::initializer_list<T> elements, const object_options& options = {})
      : base{base::bytes_of(elements.size()), options} {
    base::fill(elements);
  }
  template <detail::elements_for<T> Range>
    requires(!std::same_as<std::remove_cvref_t<Range>, raw_array>)
  explicit raw_array(Range&& elements, const object_options& options = {})
      : raw_array{base::sized(std::forward<Range>(elements)), options, 0} {}

  [[nodiscard]] T* begin() const { return base::elements().data(); }
  [[nodiscard]] T* end() const { return begin() + base::size(); }
  [[nodiscard]] T* data() const { return begin(); }
  [[nodiscard]] std::span<T> span() const { return base::elements(); }
  [[nodiscard]] T& operator[](std::size_t index) const { return base::elements()[index]; }
  /// @throws std::out_of_range.
  [[nodiscard]] T& at(std::size_t index) const {
    const std::span<T> all = base::elements();
    detail::check_index(index, all.size());
    return all[index];
  }
  [[nodiscard]] std::vector<T> to_vector() const { return std::vector<T>(begin(), end()); }
  /// @throws std::length_error unless there are as many, and nothing is changed.
  template <detail::elements_for<T> Range>
  void assign(Range&& elements) {
    base::copy_in(base::elements(), std::forward<Range>(elements));
  }

  [[nodiscard]] bool operator==(const raw_array& other) const noexcept { return this->same(other); }

 private:
  template <class Range>
  raw_array(Range&& elements, const object_options& options, int /*sized*/)
      : base{base::bytes_of(static_cast<std::size_t>(std::ranges::distance(elements))), options} {
    base::fill(elements);
  }
};

}  // namespace troupe
