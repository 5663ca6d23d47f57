// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/crossing.hpp"
#include "troupe/detail/kept_result.hpp"
#include "troupe/detail/signature.hpp"

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

// The types as which the arguments of a call travel.

namespace troupe::detail {

/// What the receiving side makes of an argument's bytes, other than an object of its own.
struct text_view {};  ///< a std::string_view onto them
struct c_text {};     ///< a string, passed as const char*
template <class T>
struct elements_view {};  ///< a std::span<const T> onto them, if they are aligned

template <class T>
inline constexpr bool is_span = false;
template <class T, std::size_t N>
inline constexpr bool is_span<std::span<T, N>> = true;
template <class T>
inline constexpr bool is_crossing_span = false;
template <blittable T>
inline constexpr bool is_crossing_span<std::span<const T>> = true;

/// How one argument travels: `wire` is the type it is written as, `received` how it is read.
template <class P, class Arg>
struct passing {
  static consteval auto choose_received() {
    using plain = std::remove_cvref_t<P>;
    using given = std::decay_t<Arg>;
    if constexpr (std::is_same_v<P, as_argument>) {
      using kept =
          std::conditional_t<is_text_pointer<given> || std::is_same_v<given, std::string_view>,
                             std::string, given>;
      return std::type_identity<kept>{};
    } else if constexpr (std::is_same_v<plain, std::string_view>) {
      return std::type_identity<text_view>{};
    } else if constexpr (std::is_same_v<plain, const char*>) {
      return std::type_identity<c_text>{};
    } else if constexpr (is_crossing_span<plain>) {
      return std::type_identity<elements_view<std::remove_const_t<typename plain::element_type>>>{};
    } else if constexpr (std::is_reference_v<P> && !std::is_same_v<plain, given> &&
                         std::is_class_v<plain> && std::is_base_of_v<plain, given>) {
      // A reference to a base class is bound to the whole object that was passed, not to a copy of
      // its base part.
      return std::type_identity<given>{};
    } else {
      return std::type_identity<std::decay_t<P>>{};
    }
  }
  using received = typename decltype(choose_received())::type;
};

template <class F, class List, class Indices>
struct received_list;
template <class F, class... Args, std::size_t... I>
struct received_list<F, type_list<Args...>, std::index_sequence<I...>> {
  using type = type_list<typename passing<parameter<F, I>, Args>::received...>;
};
template <class F, class... Args>
using received_types =
    typename received_list<F, type_list<Args...>, std::index_sequence_for<Args...>>::type;

/// One received argument: `wire` is how it is written, `pass()` what the function is called with.
template <class Received>
struct argument {
  using wire = Received;
  Received value;
  [[nodiscard]] Received&& pass() { return std::move(value); }
  static argument read(input_archive& ar) {
    argument made{};
    load_value(ar, made.value);
    return made;
  }
};

template <>
struct argument<text_view> {
  using wire = std::string;
  std::string_view value;
  [[nodiscard]] std::string_view pass() const { return value; }
  static argument read(input_archive& ar) {
    const std::size_t size = ar.read_exact_size(1, typeid(std::string_view));
    return {{reinterpret_cast<const char*>(ar.skip(size, typeid(std::string_view))), size}};
  }
};

template <>
struct argument<c_text> {
  using wire = std::string;
  std::string value;
  [[nodiscard]] const char* pass() const { return value.c_str(); }
  static argument read(input_archive& ar) {
    argument made;
    load(ar, made.value);
    return made;
  }
};

/// Where the elements of a span begin, counted from the start of the arguments.
inline constexpr std::size_t span_alignment = 8;

template <class T>
struct argument<elements_view<T>> {
  using wire = std::span<const T>;
  std::span<const T> value;
  std::vector<T> copy;  // of bytes that are not aligned; its elements stay put when it is moved
  [[nodiscard]] std::span<const T> pass() const { return value; }
  static argument read(input_archive& ar) {
    const std::size_t count = ar.read_exact_size(sizeof(T), typeid(wire));
    ar.align(span_alignment, typeid(wire));
    if (reinterpret_cast<std::uintptr_t>(ar.position()) % alignof(T) == 0) {
      const std::byte* const from = ar.skip(count * sizeof(T), typeid(wire));
      return {{reinterpret_cast<const T*>(from), count}, {}};
    }
    argument made;
    ar.read_elements(made.copy, count, typeid(wire));
    made.value = made.copy;
    return made;
  }
};

template <class Received>
using wire_of = typename argument<Received>::wire;
template <class Received>
using passed_as = decltype(std::declval<argument<Received>&>().pass());

/// True: what the caller gives converts implicitly to the type it is written as.
template <class Wire, class Arg>
inline constexpr bool can_make =
    std::is_same_v<Wire, std::decay_t<Arg>> ||
    std::is_convertible_v<const std::remove_reference_t<Arg>&, Wire> ||
    (std::is_same_v<Wire, std::string> &&
     std::is_convertible_v<const std::remove_reference_t<Arg>&, std::string_view>);

void write_text(output_archive& ar, std::string_view text);
/// The text itself.
///
/// @throws std::invalid_argument for a null pointer.
[[nodiscard]] std::string_view checked_text(const char* text);

/// Writes one argument, without a copy where it is of the wire type already.
template <class Wire, class Arg>
void write_argument(output_archive& ar, const Arg& given) {
  if constexpr (std::is_same_v<Wire, std::string> && !std::is_same_v<Arg, std::string>) {
    if constexpr (std::is_convertible_v<const Arg&, const char*>) {
      write_text(ar, checked_text(given));
    } else if constexpr (std::is_convertible_v<const Arg&, std::string_view>) {
      write_text(ar, given);
    } else {
      const std::string made = given;
      write_text(ar, made);
    }
  } else if constexpr (is_span<Wire>) {
    const Wire elements = given;
    ar.write_size(elements.size());
    ar.align(span_alignment);
    ar.write(elements.data(), elements.size_bytes());
  } else if constexpr (std::is_same_v<Wire, Arg>) {
    ar(given);
  } else {
    ar(static_cast<const Wire&>(static_cast<Wire>(given)));
  }
}

}  // namespace troupe::detail
