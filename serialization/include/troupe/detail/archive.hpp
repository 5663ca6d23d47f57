// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/byte_sink.hpp"

#include <cereal/cereal.hpp>

#include <complex>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <vector>

namespace cereal::memory_detail {
template <class T>
struct PtrWrapper;  // of <cereal/types/memory.hpp>, which is too heavy to include everywhere
template <class Archive, class T>
struct LoadAndConstructLoadWrapper;
}  // namespace cereal::memory_detail

namespace troupe {

namespace detail {

/// How deep class types may nest inside each other; every level costs stack at both ends.
inline constexpr unsigned max_nesting = 512;

/// What the elements and pointees of one decoded value may take in memory: so many times its bytes,
/// and so much besides. A few bytes may stand for a large value (an empty optional of a large one).
inline constexpr std::size_t max_memory_factor = 128;
inline constexpr std::size_t free_memory = std::size_t{64} << 20U;
/// What an element or a pointee that is allocated alone takes besides itself, about.
inline constexpr std::size_t node_bytes = 4 * sizeof(void*);

/// Values whose bytes are copied as they are: no padding, every bit pattern valid.
template <class T>
inline constexpr bool is_blittable =
    (std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, long double>) ||
    std::is_same_v<T, std::byte>;
template <class T>
inline constexpr bool is_blittable<std::complex<T>> = is_blittable<T>;
template <class T>
concept blittable = is_blittable<T>;

/// What cereal wraps around values on their way to an archive; no types of users' data.
template <class T>
inline constexpr bool is_wrapper = false;
template <class T>
inline constexpr bool is_wrapper<cereal::NameValuePair<T>> = true;
template <class T>
inline constexpr bool is_wrapper<cereal::SizeTag<T>> = true;
template <class T>
inline constexpr bool is_wrapper<cereal::BinaryData<T>> = true;
template <class T>
inline constexpr bool is_wrapper<cereal::DeferredData<T>> = true;
template <class T>
inline constexpr bool is_wrapper<cereal::base_class<T>> = true;
template <class T>
inline constexpr bool is_wrapper<cereal::virtual_base_class<T>> = true;
template <class T>
inline constexpr bool is_wrapper<cereal::memory_detail::PtrWrapper<T>> = true;
template <class Archive, class T>
inline constexpr bool is_wrapper<cereal::memory_detail::LoadAndConstructLoadWrapper<Archive, T>> =
    true;

/// The value bytes of an x87 long double. The other bytes are padding, and padding may hold other
/// data of this process, so it is not sent.
inline constexpr std::size_t long_double_value_bytes =
    std::numeric_limits<long double>::digits == 64 ? 10 : sizeof(long double);

class saved_pointers;
class loaded_pointers;

template <class Pointer>
inline constexpr const std::type_info* pointee_of = nullptr;
template <class T>
inline constexpr const std::type_info* pointee_of<std::shared_ptr<T>> = &typeid(T);

template <class Pointer>
inline constexpr bool is_unique_ptr = false;
template <class T, class Deleter>
inline constexpr bool is_unique_ptr<std::unique_ptr<T, Deleter>> = true;

}  // namespace detail

/// Writes values into a byte sink; a cereal archive, so `serialize` and `save` of users work.
///
/// Numbers are in the machine's own representation: both ends are one build on like machines, which
/// the handshake of the processes checks.
class output_archive final
    : public cereal::OutputArchive<output_archive, cereal::AllowEmptyClassElision> {
 public:
  explicit output_archive(detail::byte_sink& sink);
  output_archive(const output_archive&) = delete;
  output_archive& operator=(const output_archive&) = delete;
  ~output_archive() override;

  void write(const void* from, std::size_t count) { sink_.append(from, count); }
  void write_size(std::size_t size) {
    const std::uint64_t wide = size;
    write(&wide, sizeof wide);
  }
  void write_long_double(const long double& value);
  /// Zeros up to the next multiple of `alignment`, counted from where this archive began.
  void align(std::size_t alignment);

  /// cereal's hook for shared pointers: an id per object and type, with the top bit set when new.
  template <class T>
  [[nodiscard]] std::uint32_t registerSharedPointer(const std::shared_ptr<T>& pointer) {
    return pointer == nullptr ? 0 : pointer_id(pointer, typeid(T));
  }

  void enter(const std::type_info& type) {
    if (++depth_ > detail::max_nesting) [[unlikely]] {
      fail_depth(type);
    }
  }
  void leave() noexcept { --depth_; }

 private:
  [[nodiscard]] std::uint32_t pointer_id(std::shared_ptr<const void> pointer,
                                         const std::type_info& type);
  [[noreturn]] static void fail_depth(const std::type_info& type);

  detail::byte_sink& sink_;
  std::size_t begin_;
  unsigned depth_ = 0;
  std::unique_ptr<detail::saved_pointers> pointers_;
};

/// Reads values from bytes that are not trusted; a cereal archive.
///
/// Every length is compared with the bytes that are left before anything is allocated for it, class
/// types nest at most 512 deep, and elements that take no bytes have a budget of 64 Ki per archive.
/// Elements and pointees take at most 128 times the bytes and 64 MiB in memory. What a class
/// allocates in its own `load` is not counted.
///
/// @throws error{protocol_error} or error{nesting_too_deep}, with type, offset and reason.
class input_archive final
    : public cereal::InputArchive<input_archive, cereal::AllowEmptyClassElision> {
 public:
  explicit input_archive(std::span<const std::byte> bytes);
  input_archive(const input_archive&) = delete;
  input_archive& operator=(const input_archive&) = delete;
  ~input_archive() override;

  [[nodiscard]] std::size_t remaining() const noexcept {
    return static_cast<std::size_t>(end_ - at_);
  }
  [[nodiscard]] std::size_t offset() const noexcept {
    return static_cast<std::size_t>(at_ - begin_);
  }
  [[nodiscard]] const std::byte* position() const noexcept { return at_; }

  void read(void* to, std::size_t count, const std::type_info& type) {
    if (count > remaining()) [[unlikely]] {
      fail_truncated(count, type);
    }
    if (count != 0) {
      std::memcpy(to, at_, count);
      at_ += count;
    }
  }
  /// Steps over `count` bytes and returns where they begin.
  const std::byte* skip(std::size_t count, const std::type_info& type) {
    if (count > remaining()) [[unlikely]] {
      fail_truncated(count, type);
    }
    const std::byte* const from = at_;
    at_ += count;
    return from;
  }
  /// Reads `count` elements into a vector, without writing zeros first where that can be helped.
  template <class T, class Alloc>
  void read_elements(std::vector<T, Alloc>& to, std::size_t count, const std::type_info& type) {
    const std::byte* const from = skip(count * sizeof(T), type);
    if (reinterpret_cast<std::uintptr_t>(from) % alignof(T) == 0) {
      const T* const first = reinterpret_cast<const T*>(from);
      if (to.capacity() < count) {
        to.reserve(count);
        detail::about_to_fill(to.data(), count * sizeof(T));
      }
      to.assign(first, first + count);
    } else {
      to.resize(count);
      if (count != 0) {
        std::memcpy(static_cast<void*>(to.data()), from, count * sizeof(T));
      }
    }
  }
  void align(std::size_t alignment, const std::type_info& type);
  [[nodiscard]] bool read_bool(const std::type_info& type);

  /// A number of elements of `element_bytes` each, all of which are there.
  [[nodiscard]] std::size_t read_exact_size(std::size_t element_bytes, const std::type_info& type);
  /// A number of elements of unknown size: plausible, but each one must still be read.
  [[nodiscard]] std::size_t read_size(const std::type_info& type);
  void check_size(std::uint64_t count, const std::type_info& type) const;
  /// Called before memory is allocated for one value of `bytes`.
  void charge(std::size_t bytes, const std::type_info& type) {
    if (bytes > memory_left_) [[unlikely]] {
      fail_memory(type);
    }
    memory_left_ -= bytes;
  }
  /// Called after each element with the offset before it.
  void element_done(std::size_t offset_before, const std::type_info& type) {
    if (offset() == offset_before) [[unlikely]] {
      charge_empty_element(type);
    }
  }
  /// How many elements of `element_bytes` in memory may be reserved at once: no more memory than
  /// there are bytes to come, because a length alone proves nothing.
  [[nodiscard]] std::size_t reservable(std::size_t count,
                                       std::size_t element_bytes) const noexcept {
    const std::size_t fit = remaining() / element_bytes;
    return count < fit ? count : fit;
  }

  // cereal's hooks for shared pointers. The second one is told no type, so the prologue of the
  // wrapper around the pointer notes it before.
  template <class T>
  void registerSharedPointer(std::uint32_t id, const std::shared_ptr<T>& pointer) {
    charge(sizeof(T) + detail::node_bytes, typeid(T));
    add_pointer(id, std::const_pointer_cast<std::remove_const_t<T>>(pointer), typeid(T));
  }
  [[nodiscard]] std::shared_ptr<void> getSharedPointer(std::uint32_t id) {
    return find_pointer(id, expected_pointee_);
  }
  [[nodiscard]] std::shared_ptr<void> find_pointer(std::uint32_t id, const std::type_info* type);
  void expect_pointee(const std::type_info* type) noexcept { expected_pointee_ = type; }

  void enter(const std::type_info& type) {
    if (++depth_ > detail::max_nesting) [[unlikely]] {
      fail_depth(type);
    }
  }
  void leave() noexcept { --depth_; }

  /// Runs `load`; an exception of cereal's own becomes a protocol_error like every other.
  void guarded(void (*load)(input_archive&, void*), void* to, const std::type_info& type);

  /// Call it at the end: bytes that are left over are an error.
  ///
  /// @throws error{protocol_error} unless every byte was read.
  void finish(const std::type_info& type) const {
    if (at_ != end_) [[unlikely]] {
      fail_trailing(type);
    }
  }
  [[noreturn]] void fail(std::string_view reason, const std::type_info& type) const;

 private:
  void add_pointer(std::uint32_t id, std::shared_ptr<void> pointer, const std::type_info& type);
  void charge_empty_element(const std::type_info& type);
  [[noreturn]] void fail_truncated(std::size_t count, const std::type_info& type) const;
  [[noreturn]] void fail_trailing(const std::type_info& type) const;
  [[noreturn]] void fail_depth(const std::type_info& type) const;
  [[noreturn]] void fail_memory(const std::type_info& type) const;

  const std::byte* begin_;
  const std::byte* at_;
  const std::byte* end_;
  unsigned depth_ = 0;
  std::uint32_t empty_elements_left_ = 64 * 1024;
  std::size_t memory_left_;
  const std::type_info* expected_pointee_ = nullptr;
  std::unique_ptr<detail::loaded_pointers> pointers_;
};

// cereal finds all of the following by argument-dependent lookup on the archive. Each is more
// specialised than cereal's own overload for the same type, so it wins where both are visible; kind
// (serialize, or save and load) must therefore be the same as cereal's.

template <class T>
  requires std::is_arithmetic_v<T>
void save(output_archive& ar, const T& value) {
  if constexpr (std::is_same_v<T, long double>) {
    ar.write_long_double(value);
  } else {
    ar.write(&value, sizeof value);
  }
}

template <class T>
  requires std::is_arithmetic_v<T>
void load(input_archive& ar, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    value = ar.read_bool(typeid(bool));
  } else if constexpr (!std::is_const_v<T>) {  // otherwise `prologue` has refused it
    ar.read(&value, sizeof value, typeid(T));
  }
}

template <class T>
void serialize(output_archive& ar, cereal::NameValuePair<T>& pair) {
  ar(pair.value);
}
template <class T>
void serialize(input_archive& ar, cereal::NameValuePair<T>& pair) {
  ar(pair.value);
}

template <class T>
void serialize(output_archive& ar, cereal::SizeTag<T>& tag) {
  ar.write_size(static_cast<std::size_t>(tag.size));
}
template <class T>
void serialize(input_archive& ar, cereal::SizeTag<T>& tag) {
  tag.size = static_cast<std::remove_reference_t<T>>(ar.read_size(typeid(T)));
}

namespace detail {
template <class T>
using binary_element =
    std::remove_cv_t<std::remove_all_extents_t<std::remove_pointer_t<std::remove_reference_t<T>>>>;
}  // namespace detail

template <class T>
void save(output_archive& ar, const cereal::BinaryData<T>& data) {
  const auto size = static_cast<std::size_t>(data.size);
  if constexpr (std::is_same_v<detail::binary_element<T>, long double>) {
    const auto* const values = static_cast<const long double*>(data.data);
    for (std::size_t i = 0; i < size / sizeof(long double); ++i) {
      ar.write_long_double(values[i]);
    }
  } else {
    ar.write(data.data, size);
  }
}
template <class T>
void load(input_archive& ar, cereal::BinaryData<T>& data) {
  const auto size = static_cast<std::size_t>(data.size);
  if constexpr (std::is_same_v<detail::binary_element<T>, bool>) {
    auto* const values = static_cast<bool*>(data.data);
    for (std::size_t i = 0; i < size; ++i) {
      values[i] = ar.read_bool(typeid(bool));
    }
  } else {
    ar.read(data.data, size, typeid(detail::binary_element<T>));
  }
}

template <class T, std::size_t N>
void serialize(output_archive& ar, T (&values)[N]) {
  if constexpr (detail::blittable<T>) {
    ar.write(values, sizeof values);
  } else {
    for (T& value : values) {
      ar(value);
    }
  }
}
template <class T, std::size_t N>
void serialize(input_archive& ar, T (&values)[N]) {
  if constexpr (detail::blittable<T>) {
    ar.read(values, sizeof values, typeid(T[N]));
  } else {
    for (T& value : values) {
      ar(value);
    }
  }
}

namespace detail {

/// A code address, as (module, offset); see code_address.hpp.
void save_function(output_archive& ar, const void* address);
[[nodiscard]] const void* load_function(input_archive& ar, const std::type_info& type);
void save_member_function(output_archive& ar, const void* pointer, std::size_t size);
void load_member_function(input_archive& ar, void* pointer, std::size_t size,
                          const std::type_info& type);

template <class F>
struct noexcept_removed {
  using type = F;
};
template <class R, class... Args>
struct noexcept_removed<R(Args...) noexcept> {
  using type = R(Args...);
};
template <class F>
using without_noexcept = typename noexcept_removed<F>::type;

}  // namespace detail

// Functions cross, other raw pointers do not. Not written as R (*)(Args...): with Clang [[noreturn]]
// is a part of a function's type, which that does not match.
template <class F>
  requires std::is_function_v<F>
void serialize(output_archive& ar, F*& function) {
  detail::save_function(ar, reinterpret_cast<const void*>(function));
}
template <class F>
  requires std::is_function_v<F>
void serialize(input_archive& ar, F*& function) {
  function = reinterpret_cast<F*>(
      const_cast<void*>(detail::load_function(ar, typeid(detail::without_noexcept<F>))));
}
template <class T>
  requires std::is_member_function_pointer_v<T>
void save(output_archive& ar, const T& function) {
  detail::save_member_function(ar, &function, sizeof function);
}
template <class T>
  requires std::is_member_function_pointer_v<T>
void load(input_archive& ar, T& function) {
  detail::load_member_function(ar, &function, sizeof function, typeid(T));
}

}  // namespace troupe

CEREAL_REGISTER_ARCHIVE(troupe::output_archive)
CEREAL_REGISTER_ARCHIVE(troupe::input_archive)
CEREAL_SETUP_ARCHIVE_TRAITS(troupe::input_archive, troupe::output_archive)
