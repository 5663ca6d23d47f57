// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/guarded_memory.hpp"

#include <algorithm>
#include <cassert>
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

/// Behind the last element there is memory of the page: without the check a wrong index is not seen.
template <class T>
[[nodiscard]] T& element_of(std::span<T> elements, std::size_t index) noexcept {
  assert(index < elements.size() && "troupe: the index of an element of a shared array");
  return elements[index];
}

/// What array and raw_array have in common; `Handle` is which of the two.
template <class Handle, class T>
class array_handle : public object_handle {
  static_assert(must_be_shareable<T>::value);

 public:
  /// The type of an element.
  using value_type = T;

  /// The number of elements; never changes.
  [[nodiscard]] std::size_t size() const { return this->object().payload_bytes() / sizeof(T); }
  /// There are no elements.
  [[nodiscard]] bool empty() const { return size() == 0; }

  /// How the codec writes a handle.
  void save(output_archive& ar) const { save_handle(ar); }
  /// How the codec reads a handle.
  void load(input_archive& ar) {
    load_handle(ar, array_rules, tag());
    if (object_->payload_bytes() % sizeof(T) != 0) {
      detail::fail_partial_elements(ar, typeid(Handle));
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
/// Copies of it are the same array; what holds for every handle is told at object_kind.
///
/// @follows Python's Array.
/// @threads any.
/// @crosses the same array at both ends.
/// @worker_dies with the lock: the next guard gets it, and its `inherited()` is true until
///   `recovered()` is called.
/// @throws what every handle throws, see object_kind.
template <class T>
class array : public detail::array_handle<array<T>, T> {
  using base = detail::array_handle<array<T>, T>;

 public:
  /// True: an array has a lock, unlike raw_array.
  static constexpr bool has_lock = true;

  /// The lock, and through it the elements: a contiguous range. The thread that made the guard
  /// destroys it, which releases the lock.
  ///
  /// @threads the one that made it.
  /// @crosses no.
  class [[nodiscard]] guard : public detail::data_lock {
   public:
    /// The type of an element.
    using value_type = T;
    /// @{
    /// The elements, valid as long as the guard.
    [[nodiscard]] T* begin() const noexcept { return elements_.data(); }
    [[nodiscard]] T* end() const noexcept { return elements_.data() + elements_.size(); }
    [[nodiscard]] T* data() const noexcept { return elements_.data(); }
    /// @}

    /// The number of elements.
    [[nodiscard]] std::size_t size() const noexcept { return elements_.size(); }
    /// There are no elements.
    [[nodiscard]] bool empty() const noexcept { return elements_.empty(); }
    /// An element; `index` is checked by `assert` alone, in debug builds.
    [[nodiscard]] T& operator[](std::size_t index) const noexcept {
      return detail::element_of(elements_, index);
    }
    /// An element.
    ///
    /// @throws std::out_of_range.
    [[nodiscard]] T& at(std::size_t index) const {
      detail::check_index(index, elements_.size());
      return elements_[index];
    }
    /// All elements.
    [[nodiscard]] std::span<T> span() const noexcept { return elements_; }

   private:
    friend class array;
    explicit guard(std::shared_ptr<detail::region> object)
        : data_lock{std::move(object)},
          elements_{reinterpret_cast<T*>(data_lock::data()), size_bytes() / sizeof(T)} {}
    std::span<T> elements_;
  };

  /// An empty array: something to assign to, or to decode into.
  ///
  /// @throws error{resource_exhausted}.
  array() = default;
  /// `count` elements, all bits zero, in parentheses: `array<long> a(1000)`. In braces, as `a{1000}`,
  /// the number is the only element, as for std::vector.
  ///
  /// @throws std::invalid_argument if it is negative; std::length_error if it is larger than any
  ///   memory; error{resource_exhausted}.
  template <detail::element_count N>
  explicit array(N count, const object_options& options = {})
      : base{base::bytes_of(count), options} {}
  /// As many elements as the list has, copies of them.
  ///
  /// @throws error{resource_exhausted}.
  array(std::initializer_list<T> elements, const object_options& options = {})
      : base{base::bytes_of(elements.size()), options} {
    base::fill(elements);
  }
  /// As many elements as the range has, copies of them.
  ///
  /// @throws error{resource_exhausted}; what reading the range throws.
  template <detail::elements_for<T> Range>
    requires(!std::same_as<std::remove_cvref_t<Range>, array>)
  explicit array(Range&& elements, const object_options& options = {})
      : array{base::sized(std::forward<Range>(elements)), options, 0} {}

  /// Takes the lock, for as long as the guard lives.
  ///
  /// @blocks until the lock is the caller's.
  /// @throws std::system_error{resource_deadlock_would_occur} if the thread has a guard of it.
  guard lock() const {
    static_cast<void>(this->object());
    return guard{this->object_};
  }

  /// An element without the lock: for one that no other thread or process uses at the moment.
  /// Otherwise take the lock, and use the guard's. `index` is checked by `assert` alone, in debug
  /// builds.
  ///
  /// @throws error{not_on_this_machine} if the array is on another one: use the guard's.
  [[nodiscard]] T& operator[](std::size_t index) const {
    return detail::element_of(base::elements(), index);
  }
  /// As operator[], and checks the index.
  ///
  /// @throws std::out_of_range; error{not_on_this_machine}.
  [[nodiscard]] T& at(std::size_t index) const {
    const std::span<T> all = base::elements();
    detail::check_index(index, all.size());
    return all[index];
  }

  /// A copy of all elements, under the lock.
  ///
  /// @blocks until the lock is the caller's.
  /// @throws as lock.
  [[nodiscard]] std::vector<T> to_vector() const {
    static_cast<void>(this->object());
    const guard held{this->object_};
    return std::vector<T>(held.begin(), held.end());
  }
  /// Overwrites all elements, under the lock.
  ///
  /// @blocks until the lock is the caller's.
  /// @throws std::length_error unless there are as many, and nothing is changed; as lock.
  template <detail::elements_for<T> Range>
  void assign(Range&& elements) const {
    static_cast<void>(this->object());
    const guard held{this->object_};
    base::copy_in(held.span(), std::forward<Range>(elements));
  }

  /// The same array, not the same elements.
  [[nodiscard]] bool operator==(const array& other) const noexcept { return this->same(other); }

 private:
  template <class Range>
  array(Range&& elements, const object_options& options, int /*sized*/)
      : base{base::bytes_of(static_cast<std::size_t>(std::ranges::distance(elements))), options} {
    base::fill(elements);
  }
};

/// `array{range}` has elements of the range's type.
template <std::ranges::input_range Range>
explicit array(Range&&) -> array<std::ranges::range_value_t<Range>>;

/// An array that processes share, without a lock: a program that writes an element sees to it that
/// no other thread or process uses that meanwhile. A contiguous range, converts to std::span.
///
/// Copies of it are the same array; what holds for every handle is told at object_kind.
///
/// @follows Python's RawArray.
/// @threads any; the program orders accesses to the elements.
/// @crosses the same array at both ends; not to another machine.
/// @worker_dies what it has written stays, whole or in part.
/// @throws error{not_on_this_machine} from every member that reaches elements, for an array of
///   another machine; what every handle throws, see object_kind.
template <class T>
class raw_array : public detail::array_handle<raw_array<T>, T> {
  using base = detail::array_handle<raw_array<T>, T>;

 public:
  /// False: a raw_array has no lock, unlike array.
  static constexpr bool has_lock = false;
  /// An empty array: something to assign to, or to decode into.
  ///
  /// @throws error{resource_exhausted}.
  raw_array() = default;
  /// `count` elements, all bits zero, in parentheses: `raw_array<long> a(1000)`. In braces, as `a{1000}`,
  /// the number is the only element, as for std::vector.
  ///
  /// @throws std::invalid_argument if it is negative; std::length_error if it is larger than any
  ///   memory; error{resource_exhausted}.
  template <detail::element_count N>
  explicit raw_array(N count, const object_options& options = {})
      : base{base::bytes_of(count), options} {}
  /// As many elements as the list has, copies of them.
  ///
  /// @throws error{resource_exhausted}.
  raw_array(std::initializer_list<T> elements, const object_options& options = {})
      : base{base::bytes_of(elements.size()), options} {
    base::fill(elements);
  }
  /// As many elements as the range has, copies of them.
  ///
  /// @throws error{resource_exhausted}; what reading the range throws.
  template <detail::elements_for<T> Range>
    requires(!std::same_as<std::remove_cvref_t<Range>, raw_array>)
  explicit raw_array(Range&& elements, const object_options& options = {})
      : raw_array{base::sized(std::forward<Range>(elements)), options, 0} {}

  /// @{
  /// The elements, valid as long as there is a handle in this process.
  [[nodiscard]] T* begin() const { return base::elements().data(); }
  [[nodiscard]] T* end() const { return begin() + base::size(); }
  [[nodiscard]] T* data() const { return begin(); }
  [[nodiscard]] std::span<T> span() const { return base::elements(); }
  /// @}

  /// An element; `index` is checked by `assert` alone, in debug builds.
  [[nodiscard]] T& operator[](std::size_t index) const {
    return detail::element_of(base::elements(), index);
  }
  /// An element.
  ///
  /// @throws std::out_of_range.
  [[nodiscard]] T& at(std::size_t index) const {
    const std::span<T> all = base::elements();
    detail::check_index(index, all.size());
    return all[index];
  }
  /// A copy of all elements.
  [[nodiscard]] std::vector<T> to_vector() const { return std::vector<T>(begin(), end()); }
  /// Overwrites all elements.
  ///
  /// @throws std::length_error unless there are as many, and nothing is changed.
  template <detail::elements_for<T> Range>
  void assign(Range&& elements) const {
    base::copy_in(base::elements(), std::forward<Range>(elements));
  }

  /// The same array, not the same elements.
  [[nodiscard]] bool operator==(const raw_array& other) const noexcept { return this->same(other); }

 private:
  template <class Range>
  raw_array(Range&& elements, const object_options& options, int /*sized*/)
      : base{base::bytes_of(static_cast<std::size_t>(std::ranges::distance(elements))), options} {
    base::fill(elements);
  }
};

}  // namespace troupe
