// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/refusal.hpp"
#include "troupe/detail/std_types.hpp"

#include <concepts>
#include <functional>
#include <string_view>
#include <type_traits>
#include <typeinfo>

// Which types can cross. The question is asked for the elements of containers, too, so that the
// first line of a compiler's message names the type that lacks something and not the container
// around it. cereal alone accepts a vector of any type.

namespace troupe {
namespace detail {

template <class... Ts>
struct type_list {};

/// The types a type of the standard is made of.
template <class T>
struct parts_of {
  using type = type_list<>;
  static constexpr bool known = false;
};
template <class... Ts>
struct made_of {
  using type = type_list<std::remove_cv_t<Ts>...>;
  static constexpr bool known = true;
  static constexpr bool constructs =
      true;  ///< reading makes its parts by their default constructors
};
/// cereal::access may call a private constructor, so nothing can be said about it beforehand.
template <class T>
struct points_to : made_of<T> {
  static constexpr bool constructs = false;
};
// clang-format off
template <class T, class A> struct parts_of<std::vector<T, A>> : made_of<T> {};
template <class T, std::size_t N> struct parts_of<std::array<T, N>> : made_of<T> {};
template <class T, std::size_t N> struct parts_of<T[N]> : made_of<T> {};
template <class T, class A> struct parts_of<std::deque<T, A>> : made_of<T> {};
template <class T, class A> struct parts_of<std::list<T, A>> : made_of<T> {};
template <class T, class A> struct parts_of<std::forward_list<T, A>> : made_of<T> {};
template <class K, class... R> struct parts_of<std::set<K, R...>> : made_of<K> {};
template <class K, class... R> struct parts_of<std::multiset<K, R...>> : made_of<K> {};
template <class K, class... R> struct parts_of<std::unordered_set<K, R...>> : made_of<K> {};
template <class K, class... R> struct parts_of<std::unordered_multiset<K, R...>> : made_of<K> {};
template <class K, class T, class... R> struct parts_of<std::map<K, T, R...>> : made_of<K, T> {};
template <class K, class T, class... R> struct parts_of<std::multimap<K, T, R...>> : made_of<K, T> {};
template <class K, class T, class... R> struct parts_of<std::unordered_map<K, T, R...>> : made_of<K, T> {};
template <class K, class T, class... R> struct parts_of<std::unordered_multimap<K, T, R...>> : made_of<K, T> {};
template <class A, class B> struct parts_of<std::pair<A, B>> : made_of<A, B> {};
template <class... Ts> struct parts_of<std::tuple<Ts...>> : made_of<Ts...> {};
template <class T> struct parts_of<std::optional<T>> : made_of<T> {};
template <class... Ts> struct parts_of<std::variant<Ts...>> : made_of<Ts...> {};
template <plain_pointee T, class D> struct parts_of<std::unique_ptr<T, D>> : points_to<T> {};
template <plain_pointee T> struct parts_of<std::shared_ptr<T>> : points_to<T> {};
// clang-format on

template <class T>
inline constexpr bool is_raw_pointer =
    std::is_pointer_v<T> && !std::is_function_v<std::remove_pointer_t<T>>;
template <class T>
inline constexpr bool is_raw_pointer<T[]> = true;

template <class T>
inline constexpr bool is_refused =
    is_raw_pointer<T> || std::is_reference_v<T> || std::is_union_v<T> || std::is_null_pointer_v<T>;
template <class T>
inline constexpr bool is_refused<std::reference_wrapper<T>> = true;
template <class T>
inline constexpr bool is_refused<std::function<T>> = true;

struct encoding {
  template <class T>
  static constexpr bool has = cereal::traits::is_output_serializable<T, output_archive>::value;
};
struct decoding {
  template <class T>
  static constexpr bool has = cereal::traits::is_input_serializable<T, input_archive>::value;
};

template <class Direction, class T>
struct culprit;

template <class Direction, bool Constructs, class List>
struct first_culprit {
  using type = void;
};
template <class Direction, bool Constructs, class T, class... Ts>
struct first_culprit<Direction, Constructs, type_list<T, Ts...>> {
  static constexpr bool blank_is_missing =
      Constructs && std::is_same_v<Direction, decoding> && !std::is_default_constructible_v<T>;
  using found = typename culprit<Direction, T>::type;
  using own = std::conditional_t<std::is_void_v<found> && blank_is_missing, T, found>;
  using type = typename std::conditional_t<std::is_void_v<own>,
                                           first_culprit<Direction, Constructs, type_list<Ts...>>,
                                           std::type_identity<own>>::type;
};

/// `type` is void, or the innermost type that cannot cross.
template <class Direction, class T>
struct culprit {
  static consteval auto find() {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T> ||
                  std::is_member_function_pointer_v<T>) {
      return std::type_identity<void>{};
    } else if constexpr (is_refused<T>) {
      return std::type_identity<T>{};
    } else if constexpr (parts_of<T>::known) {
      return std::type_identity<typename first_culprit<Direction, parts_of<T>::constructs,
                                                       typename parts_of<T>::type>::type>{};
    } else if constexpr (is_wrapper<T> || std::is_empty_v<T>) {
      return std::type_identity<void>{};
    } else {
      return std::type_identity<std::conditional_t<Direction::template has<T>, void, T>>{};
    }
  }
  using type = typename decltype(find())::type;
};

template <class T>
using cannot_encode = typename culprit<encoding, T>::type;

template <class T>
using cannot_decode = typename culprit<decoding, T>::type;

/// Whether the name of T begins with `prefix`.
template <class T>
consteval bool is_named(std::string_view prefix) {
  const std::string_view name = __PRETTY_FUNCTION__;
  const std::size_t at = name.find("T = ");
  return at != std::string_view::npos && name.substr(at + 4).starts_with(prefix);
}
/// A class of this library: of those, handles of shared objects cross.
template <class T>
consteval bool is_own_type() {
  return std::is_class_v<T> && is_named<T>("troupe::");
}
template <class T>
consteval bool is_path() {
  return is_named<T>("std::filesystem::");
}

template <class T>
inline constexpr bool is_polymorphic_pointer = false;
template <class T, class D>
inline constexpr bool is_polymorphic_pointer<std::unique_ptr<T, D>> = std::is_polymorphic_v<T>;
template <class T>
inline constexpr bool is_polymorphic_pointer<std::shared_ptr<T>> = std::is_polymorphic_v<T>;
template <class T>
inline constexpr bool is_polymorphic_pointer<std::weak_ptr<T>> = std::is_polymorphic_v<T>;

/// A class that names a member `serialize`, whether it may be called or not: the name is not found
/// if there are two of them, and this is looked at before access is.
struct another_serialize {
  int serialize;
};
template <class T>
struct with_another_serialize : T, another_serialize {};
template <class T>
consteval bool has_a_serialize() {
  if constexpr (std::is_class_v<T> && !std::is_final_v<T>) {
    return !requires { &with_another_serialize<T>::serialize; };
  } else {
    return false;
  }
}

/// Its instantiation is what the compiler names first: `must_be_serializable<the type>`.
template <class T>
struct must_be_serializable {
  static constexpr bool own = is_own_type<T>();
  static constexpr bool path = is_path<T>();
  static constexpr bool polymorphic = is_polymorphic_pointer<T>;
  static constexpr bool hidden = !own && !path && !polymorphic && has_a_serialize<T>();
  static_assert(!own,
                "troupe: this object belongs to its process and cannot cross to another one: pass "
                "what a future gives, not the future; a task reaches its pool by "
                "troupe::this_task::pool(), and other processes by a queue or a connection");
  static_assert(!path, "troupe: to let paths cross, include \"troupe/filesystem.hpp\"");
  static_assert(!polymorphic,
                "troupe: to let a pointer to a class with virtual functions cross, include "
                "<cereal/types/polymorphic.hpp> and write CEREAL_REGISTER_TYPE(Derived) and "
                "CEREAL_REGISTER_POLYMORPHIC_RELATION(Base, Derived); or use std::variant");
  static_assert(!hidden,
                "troupe: this type has a `serialize` that cannot be called: if it is private, add "
                "`friend class cereal::access;`; it is `template <class Archive> void "
                "serialize(Archive& ar)`");
  static_assert(!is_raw_pointer<T>,
                "troupe: a raw pointer cannot cross to another process, whose memory is another: "
                "pass the value, std::unique_ptr or std::shared_ptr");
  static_assert(is_raw_pointer<T> || own || path || polymorphic || hidden || std::is_void_v<T>,
                "troupe: this type cannot cross to another process: give it `template <class "
                "Archive> void serialize(Archive& ar) { ar(member, ...); }` or include the "
                "<cereal/types/...> header of its std type");
};

template <class T>
struct const_cannot_be_read {
  static_assert(
      std::is_void_v<T>,
      "troupe: a const member cannot be read in another process: take the const away from "
      "the member, or do not name it in `serialize`");
};

template <class T>
struct must_be_default_constructible {
  static_assert(
      std::is_void_v<T>,
      "troupe: this type cannot be decoded in another process because it has no default "
      "constructor: add one, or pass it in a std::unique_ptr, for which cereal::access may "
      "call a private one");
};

template <class T>
using encode_refusal = std::conditional_t<std::is_void_v<cannot_encode<T>>, void,
                                          must_be_serializable<cannot_encode<T>>>;

template <class T>
consteval auto find_load_refusal() {
  using lacking = cannot_decode<T>;
  if constexpr (std::is_void_v<lacking>) {
    return std::type_identity<void>{};
  } else if constexpr (std::is_void_v<typename culprit<decoding, lacking>::type>) {
    return std::type_identity<must_be_default_constructible<lacking>>{};
  } else {
    return std::type_identity<must_be_serializable<lacking>>{};
  }
}
template <class T>
using load_refusal = typename decltype(find_load_refusal<T>())::type;

/// Loadable, and there can be an object to load into.
template <class T>
inline constexpr bool is_decodable =
    std::is_void_v<cannot_decode<T>> && std::is_default_constructible_v<T>;

template <class T>
consteval auto find_decode_refusal() {
  if constexpr (std::is_void_v<load_refusal<T>> && !std::is_default_constructible_v<T>) {
    return std::type_identity<must_be_default_constructible<T>>{};
  } else {
    return std::type_identity<load_refusal<T>>{};
  }
}
template <class T>
using decode_refusal = typename decltype(find_decode_refusal<T>())::type;

template <class E>
concept checked_enum = std::is_enum_v<E> && requires(E value) {
  { is_valid(value) } -> std::convertible_to<bool>;
};

/// Loads through cereal's machinery; its own exceptions become ours.
template <class T>
void load_value(input_archive& ar, T& value) {
  if constexpr (blittable<T>) {
    ar.read(&value, sizeof value, typeid(T));
  } else if constexpr (std::is_void_v<cannot_decode<T>>) {
    ar.guarded([](input_archive& in, void* to) { in(*static_cast<T*>(to)); },
               static_cast<void*>(&value), typeid(T));
  }
}

}  // namespace detail

// cereal calls these around every value, which makes them the place for everything that holds for
// all values: the depth limit, the checks of enums, and a compile error that names the type.

// `auto` rather than `void`: to know the type the compiler must look at the body right where it is
// called, so that our explanation comes before cereal's.

template <class T>
auto prologue(output_archive& ar, const T& /*value*/) {
  if constexpr (!detail::is_wrapper<T>) {
    using refusal = detail::encode_refusal<T>;
    static_assert(detail::is_reported<refusal>);
    if constexpr (std::is_void_v<refusal> && std::is_class_v<T>) {
      ar.enter(typeid(T));
    }
  }
}
template <class T>
void epilogue(output_archive& ar, const T& /*value*/) {
  if constexpr (!detail::is_wrapper<T> && std::is_class_v<T>) {
    ar.leave();
  }
}

template <class T>
  requires(!std::is_const_v<T> && !detail::is_wrapper<T>)
auto prologue(input_archive& ar, T& /*value*/) {
  using refusal = detail::load_refusal<T>;
  static_assert(detail::is_reported<refusal>);
  if constexpr (std::is_void_v<refusal> && std::is_class_v<T>) {
    ar.enter(typeid(T));
  }
}
template <class T>
auto prologue(input_archive& ar, const T& /*value*/) {
  if constexpr (!detail::is_wrapper<T>) {
    using refusal =
        std::conditional_t<std::is_empty_v<T>, void, detail::const_cannot_be_read<const T>>;
    static_assert(detail::is_reported<refusal>);
    if constexpr (std::is_void_v<refusal>) {
      ar.enter(typeid(T));
    }
  }
}
template <class T>
void prologue(input_archive& ar, const cereal::memory_detail::PtrWrapper<T>& /*pointer*/) {
  using pointer = std::remove_cvref_t<T>;
  if constexpr (detail::is_unique_ptr<pointer>) {
    // cereal's own load of a unique_ptr to a derived class; for a shared_ptr it has a hook.
    ar.charge(sizeof(typename pointer::element_type) + detail::node_bytes,
              typeid(typename pointer::element_type));
  }
  ar.expect_pointee(detail::pointee_of<pointer>);
}
template <class T>
void epilogue(input_archive& ar, const T& value) {
  if constexpr (detail::checked_enum<T>) {
    if (!is_valid(value)) {
      ar.fail("the value is none of the enumerators", typeid(T));
    }
  } else if constexpr (!detail::is_wrapper<T> && std::is_class_v<T>) {
    ar.leave();
  }
}

}  // namespace troupe
