// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/archive.hpp"
#include "troupe/detail/clock.hpp"

#include <array>
#include <bitset>
#include <complex>
#include <deque>
#include <forward_list>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

// How the types of the standard library are written and read. The readers never trust a length.
// Where the size of the elements is known, their bytes must be there. Otherwise the container grows
// as its elements are read.

namespace troupe {

namespace detail {

template <class Container>
void save_elements(output_archive& ar, const Container& values, std::size_t size) {
  ar.write_size(size);
  for (const auto& value : values) {
    ar(value);
  }
}

/// What one more element of the container takes in memory.
template <class Container>
inline constexpr std::size_t element_bytes = sizeof(typename Container::value_type) + node_bytes;
template <class T, class Alloc>
inline constexpr std::size_t element_bytes<std::vector<T, Alloc>> = sizeof(T);
template <class T, class Alloc>
inline constexpr std::size_t element_bytes<std::deque<T, Alloc>> = sizeof(T);

/// Sequences that can emplace at their end.
template <class Container>
void load_elements(input_archive& ar, Container& values, std::size_t count) {
  using element = typename Container::value_type;
  values.clear();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t before = ar.offset();
    ar.charge(element_bytes<Container>, typeid(element));
    ar(values.emplace_back());
    ar.element_done(before, typeid(element));
  }
}

/// Sets: the element must be whole before it can be placed.
template <class Set>
void load_set(input_archive& ar, Set& values) {
  using element = typename Set::value_type;
  const std::size_t count = ar.read_size(typeid(Set));
  values.clear();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t before = ar.offset();
    ar.charge(element_bytes<Set>, typeid(element));
    element value{};
    ar(value);
    values.emplace_hint(values.end(), std::move(value));
    ar.element_done(before, typeid(element));
    if (values.size() != i + 1) {
      ar.fail("a set holds an element twice", typeid(Set));
    }
  }
}

template <class Map>
void save_map(output_archive& ar, const Map& values) {
  ar.write_size(values.size());
  for (const auto& [key, mapped] : values) {
    ar(key, mapped);
  }
}

/// Maps: the key must be whole before it can be placed, the mapped value is read in its place.
template <class Map>
void load_map(input_archive& ar, Map& values) {
  using key_type = typename Map::key_type;
  using mapped_type = typename Map::mapped_type;
  constexpr bool is_multi = !requires(Map& map, key_type& key) { map.try_emplace(key); };
  const std::size_t count = ar.read_size(typeid(Map));
  values.clear();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t before = ar.offset();
    ar.charge(element_bytes<Map>, typeid(typename Map::value_type));
    key_type key{};
    ar(key);
    if constexpr (is_multi) {
      mapped_type mapped{};
      ar(mapped);
      values.emplace_hint(values.end(), std::move(key), std::move(mapped));
    } else {
      ar(values.try_emplace(values.end(), std::move(key))->second);
    }
    ar.element_done(before, typeid(typename Map::value_type));
    if (values.size() != i + 1) {
      ar.fail("a map holds a key twice", typeid(Map));
    }
  }
}

template <class Variant, std::size_t... I>
void load_alternative(input_archive& ar, Variant& value, std::size_t index,
                      std::index_sequence<I...> /*indices*/) {
  const auto load_one = [&]<std::size_t J>(std::integral_constant<std::size_t, J> /*chosen*/) {
    ar(value.template emplace<J>());
  };
  (void)((index == I && (load_one(std::integral_constant<std::size_t, I>{}), true)) || ...);
}

/// Polymorphic pointees and those with load_and_construct are cereal's: <cereal/types/memory.hpp>.
template <class T>
concept plain_pointee =
    !std::is_polymorphic_v<T> && !std::is_array_v<T> && !std::is_void_v<T> &&
    !cereal::traits::has_load_and_construct<std::remove_const_t<T>, input_archive>::value;

}  // namespace detail

// strings

template <class Char, class Traits, class Alloc>
void save(output_archive& ar, const std::basic_string<Char, Traits, Alloc>& text) {
  ar.write_size(text.size());
  ar.write(text.data(), text.size() * sizeof(Char));
}
template <class Char, class Traits, class Alloc>
void load(input_archive& ar, std::basic_string<Char, Traits, Alloc>& text) {
  const std::size_t count = ar.read_exact_size(sizeof(Char), typeid(text));
  if constexpr (sizeof(Char) == 1) {
    const auto* const from = reinterpret_cast<const Char*>(ar.skip(count, typeid(text)));
    if (text.capacity() < count) {
      text.reserve(count);
      detail::about_to_fill(text.data(), count);
    }
    text.assign(from, count);
  } else {
    text.resize(count);
    ar.read(text.data(), count * sizeof(Char), typeid(text));
  }
}

// sequences

template <class T, class Alloc>
void save(output_archive& ar, const std::vector<T, Alloc>& values) {
  if constexpr (detail::blittable<T>) {
    ar.write_size(values.size());
    ar.write(values.data(), values.size() * sizeof(T));
  } else {
    detail::save_elements(ar, values, values.size());
  }
}
template <class T, class Alloc>
void load(input_archive& ar, std::vector<T, Alloc>& values) {
  if constexpr (detail::blittable<T>) {
    const std::size_t count = ar.read_exact_size(sizeof(T), typeid(values));
    ar.read_elements(values, count, typeid(values));
  } else {
    const std::size_t count = ar.read_size(typeid(values));
    values.clear();
    values.reserve(ar.reservable(count, sizeof(T)));
    detail::load_elements(ar, values, count);
  }
}

// Eight to a byte, first one lowest; the rest of the last byte is zero.
template <class Alloc>
void save(output_archive& ar, const std::vector<bool, Alloc>& values) {
  ar.write_size(values.size());
  unsigned packed = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    packed |= static_cast<unsigned>(values[i]) << (i % 8);
    if (i % 8 == 7 || i + 1 == values.size()) {
      ar(static_cast<std::uint8_t>(packed));
      packed = 0;
    }
  }
}
template <class Alloc>
void load(input_archive& ar, std::vector<bool, Alloc>& values) {
  std::uint64_t count = 0;
  ar(count);
  const std::uint64_t bytes = count / 8 + (count % 8 != 0 ? 1 : 0);
  const std::byte* const packed = ar.skip(static_cast<std::size_t>(bytes), typeid(values));
  const auto bit = [&](std::uint64_t i) {
    return (std::to_integer<unsigned>(packed[i / 8]) >> (i % 8) & 1U) != 0;
  };
  for (std::uint64_t i = count; i < bytes * 8; ++i) {
    if (bit(i)) {
      ar.fail("bits are set beyond the last element", typeid(values));
    }
  }
  values.assign(static_cast<std::size_t>(count), false);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = bit(i);
  }
}

template <class T, std::size_t N>
void save(output_archive& ar, const std::array<T, N>& values) {
  if constexpr (detail::blittable<T>) {
    ar.write(values.data(), N * sizeof(T));
  } else {
    for (const T& value : values) {
      ar(value);
    }
  }
}
template <class T, std::size_t N>
void load(input_archive& ar, std::array<T, N>& values) {
  if constexpr (detail::blittable<T>) {
    ar.read(values.data(), N * sizeof(T), typeid(values));
  } else {
    for (T& value : values) {
      ar(value);
    }
  }
}

template <class T, class Alloc>
void save(output_archive& ar, const std::deque<T, Alloc>& values) {
  detail::save_elements(ar, values, values.size());
}
template <class T, class Alloc>
void load(input_archive& ar, std::deque<T, Alloc>& values) {
  detail::load_elements(ar, values, ar.read_size(typeid(values)));
}

template <class T, class Alloc>
void save(output_archive& ar, const std::list<T, Alloc>& values) {
  detail::save_elements(ar, values, values.size());
}
template <class T, class Alloc>
void load(input_archive& ar, std::list<T, Alloc>& values) {
  detail::load_elements(ar, values, ar.read_size(typeid(values)));
}

template <class T, class Alloc>
void save(output_archive& ar, const std::forward_list<T, Alloc>& values) {
  std::size_t size = 0;
  for (auto it = values.begin(); it != values.end(); ++it) {
    ++size;
  }
  detail::save_elements(ar, values, size);
}
template <class T, class Alloc>
void load(input_archive& ar, std::forward_list<T, Alloc>& values) {
  const std::size_t count = ar.read_size(typeid(values));
  values.clear();
  auto last = values.before_begin();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t before = ar.offset();
    ar.charge(detail::element_bytes<std::forward_list<T, Alloc>>, typeid(T));
    last = values.emplace_after(last);
    ar(*last);
    ar.element_done(before, typeid(T));
  }
}

// sets and maps

template <class K, class C, class A>
void save(output_archive& ar, const std::set<K, C, A>& values) {
  detail::save_elements(ar, values, values.size());
}
template <class K, class C, class A>
void load(input_archive& ar, std::set<K, C, A>& values) {
  detail::load_set(ar, values);
}
template <class K, class C, class A>
void save(output_archive& ar, const std::multiset<K, C, A>& values) {
  detail::save_elements(ar, values, values.size());
}
template <class K, class C, class A>
void load(input_archive& ar, std::multiset<K, C, A>& values) {
  detail::load_set(ar, values);
}
template <class K, class H, class E, class A>
void save(output_archive& ar, const std::unordered_set<K, H, E, A>& values) {
  detail::save_elements(ar, values, values.size());
}
template <class K, class H, class E, class A>
void load(input_archive& ar, std::unordered_set<K, H, E, A>& values) {
  detail::load_set(ar, values);
}
template <class K, class H, class E, class A>
void save(output_archive& ar, const std::unordered_multiset<K, H, E, A>& values) {
  detail::save_elements(ar, values, values.size());
}
template <class K, class H, class E, class A>
void load(input_archive& ar, std::unordered_multiset<K, H, E, A>& values) {
  detail::load_set(ar, values);
}

template <class K, class T, class C, class A>
void save(output_archive& ar, const std::map<K, T, C, A>& values) {
  detail::save_map(ar, values);
}
template <class K, class T, class C, class A>
void load(input_archive& ar, std::map<K, T, C, A>& values) {
  detail::load_map(ar, values);
}
template <class K, class T, class C, class A>
void save(output_archive& ar, const std::multimap<K, T, C, A>& values) {
  detail::save_map(ar, values);
}
template <class K, class T, class C, class A>
void load(input_archive& ar, std::multimap<K, T, C, A>& values) {
  detail::load_map(ar, values);
}
template <class K, class T, class H, class E, class A>
void save(output_archive& ar, const std::unordered_map<K, T, H, E, A>& values) {
  detail::save_map(ar, values);
}
template <class K, class T, class H, class E, class A>
void load(input_archive& ar, std::unordered_map<K, T, H, E, A>& values) {
  detail::load_map(ar, values);
}
template <class K, class T, class H, class E, class A>
void save(output_archive& ar, const std::unordered_multimap<K, T, H, E, A>& values) {
  detail::save_map(ar, values);
}
template <class K, class T, class H, class E, class A>
void load(input_archive& ar, std::unordered_multimap<K, T, H, E, A>& values) {
  detail::load_map(ar, values);
}

// products and sums

template <class A, class B>
void serialize(output_archive& ar, std::pair<A, B>& value) {
  ar(value.first, value.second);
}
template <class A, class B>
void serialize(input_archive& ar, std::pair<A, B>& value) {
  ar(value.first, value.second);
}

/// An element of a map. The key cannot be read where it is: the pair is made anew.
template <class A, class B>
void serialize(input_archive& ar, std::pair<const A, B>& value) {
  A first{};
  B second{};
  ar(first, second);
  [&]() noexcept {  // there must be a pair again
    std::destroy_at(&value);
    std::construct_at(&value, std::move(first), std::move(second));
  }();
}

template <class... Ts>
void serialize(output_archive& ar, std::tuple<Ts...>& value) {
  std::apply([&](auto&... elements) { (ar(elements), ...); }, value);
}
template <class... Ts>
void serialize(input_archive& ar, std::tuple<Ts...>& value) {
  std::apply([&](auto&... elements) { (ar(elements), ...); }, value);
}

template <class T>
void save(output_archive& ar, const std::optional<T>& value) {
  ar(value.has_value());
  if (value) {
    ar(*value);
  }
}
template <class T>
void load(input_archive& ar, std::optional<T>& value) {
  value.reset();
  if (ar.read_bool(typeid(value))) {
    ar(value.emplace());
  }
}

namespace detail {
[[noreturn]] void fail_valueless(const std::type_info& type);
}  // namespace detail

template <class T, class... Ts>
void save(output_archive& ar, const std::variant<T, Ts...>& value) {
  if (value.valueless_by_exception()) {
    detail::fail_valueless(typeid(value));
  }
  ar(static_cast<std::uint32_t>(value.index()));
  std::visit([&](const auto& alternative) { ar(alternative); }, value);
}
template <class T, class... Ts>
void load(input_archive& ar, std::variant<T, Ts...>& value) {
  std::uint32_t index = 0;
  ar(index);
  if (index > sizeof...(Ts)) {
    ar.fail("there is no such alternative", typeid(value));
  }
  detail::load_alternative(ar, value, index, std::index_sequence_for<T, Ts...>{});
}

// pointers

template <class T, class D>
  requires detail::plain_pointee<T>
void save(output_archive& ar, const std::unique_ptr<T, D>& pointer) {
  ar(pointer != nullptr);
  if (pointer != nullptr) {
    ar(*pointer);
  }
}
template <class T, class D>
  requires detail::plain_pointee<T>
void load(input_archive& ar, std::unique_ptr<T, D>& pointer) {
  pointer.reset();
  if (ar.read_bool(typeid(pointer))) {
    ar.charge(sizeof(T) + detail::node_bytes, typeid(T));
    std::unique_ptr<std::remove_const_t<T>> made{
        cereal::access::construct<std::remove_const_t<T>>()};
    ar(*made);
    pointer.reset(made.release());
  }
}

template <class T>
  requires detail::plain_pointee<T>
void save(output_archive& ar, const std::shared_ptr<T>& pointer) {
  const std::uint32_t id = ar.registerSharedPointer(pointer);
  ar(id);
  if ((id & cereal::detail::msb_32bit) != 0) {
    ar(*pointer);
  }
}
template <class T>
  requires detail::plain_pointee<T>
void load(input_archive& ar, std::shared_ptr<T>& pointer) {
  std::uint32_t id = 0;
  ar(id);
  if ((id & cereal::detail::msb_32bit) != 0) {
    using object = std::remove_const_t<T>;
    const std::shared_ptr<object> made{cereal::access::construct<object>()};
    ar.registerSharedPointer(id, made);  // before its content, which may point back at it
    ar(*made);
    pointer = made;
  } else {
    pointer = std::static_pointer_cast<T>(ar.find_pointer(id, &typeid(T)));
  }
}

template <class T>
  requires detail::plain_pointee<T>
void save(output_archive& ar, const std::weak_ptr<T>& pointer) {
  ar(pointer.lock());
}
template <class T>
  requires detail::plain_pointee<T>
void load(input_archive& ar, std::weak_ptr<T>& pointer) {
  std::shared_ptr<T> strong;
  ar(strong);
  pointer = strong;
}

// numbers and times

template <class T>
void save(output_archive& ar, const std::complex<T>& value) {
  ar(value.real(), value.imag());
}
template <class T>
void load(input_archive& ar, std::complex<T>& value) {
  T real{};
  T imag{};
  ar(real, imag);
  value = {real, imag};
}

template <class Rep, class Period>
void save(output_archive& ar, const std::chrono::duration<Rep, Period>& value) {
  ar(value.count());
}
template <class Rep, class Period>
void load(input_archive& ar, std::chrono::duration<Rep, Period>& value) {
  Rep count{};
  ar(count);
  value = std::chrono::duration<Rep, Period>{count};
}

template <class Clock, class Duration>
void save(output_archive& ar, const std::chrono::time_point<Clock, Duration>& value) {
  ar(value.time_since_epoch());
}
template <class Clock, class Duration>
void load(input_archive& ar, std::chrono::time_point<Clock, Duration>& value) {
  Duration since{};
  ar(since);
  value = std::chrono::time_point<Clock, Duration>{since};
}

template <std::size_t N>
void save(output_archive& ar, const std::bitset<N>& bits) {
  for (std::size_t i = 0; i < N; i += 8) {
    unsigned packed = 0;
    for (std::size_t j = i; j < i + 8 && j < N; ++j) {
      packed |= static_cast<unsigned>(bits[j]) << (j - i);
    }
    ar(static_cast<std::uint8_t>(packed));
  }
}
template <std::size_t N>
void load(input_archive& ar, std::bitset<N>& bits) {
  bits.reset();
  for (std::size_t i = 0; i < N; i += 8) {
    std::uint8_t packed = 0;
    ar(packed);
    for (std::size_t j = i; j < i + 8; ++j) {
      if ((packed >> (j - i) & 1) != 0) {
        if (j >= N) {
          ar.fail("bits are set beyond the last one", typeid(bits));
        }
        bits.set(j);
      }
    }
  }
}

}  // namespace troupe
