// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <typeinfo>
#include <utility>

// What value<T> and array<T> have below their types.
namespace troupe::detail {

/// The operations of a value or an array that is here.
[[nodiscard]] const object_operations& local_data_operations() noexcept;

template <class T>
inline constexpr object_rules value_rules{
    .kind = object_kind::value,
    .min_payload_bytes = sizeof(T),
    .max_payload_bytes = sizeof(T),
    .local = &local_data_operations};
inline constexpr object_rules array_rules{.kind = object_kind::array,
                                          .local = &local_data_operations};

/// A copy of the data of an imported object, as long as its lock is held.
class data_copy {
 public:
  data_copy() = default;
  data_copy(const data_copy&) = delete;
  data_copy& operator=(const data_copy&) = delete;
  virtual ~data_copy() = default;
};

/// What a guard has while it holds the lock.
struct held_data {
  std::byte* bytes = nullptr;
  std::unique_ptr<data_copy> copy = nullptr;  ///< null: `bytes` are the object's own
};

/// The lock of a value or an array, held while this lives, and released at the end.
///
/// Of an imported object it has a copy of the data, and the end sends the exporter what was
/// changed. If the link is cut meanwhile, that is lost, as if the process had died with the lock; a
/// warning in the log tells it.
class data_lock {
 public:
  /// Takes the lock.
  ///
  /// @blocks until the lock is the caller's.
  /// @throws std::system_error{resource_deadlock_would_occur} if the thread has it already;
  ///   error{connection_lost}.
  explicit data_lock(std::shared_ptr<region> object);
  /// Takes over the hold of `other`, which has none then.
  data_lock(data_lock&& other) noexcept;
  /// Exchanges the holds.
  data_lock& operator=(data_lock&& other) noexcept {
    std::swap(object_, other.object_);
    std::swap(held_, other.held_);
    return *this;
  }
  data_lock(const data_lock&) = delete;
  data_lock& operator=(const data_lock&) = delete;
  /// Releases the lock, if this has it.
  ~data_lock();

  /// A holder died with the lock since `recovered()` was last called: the data may be half changed.
  [[nodiscard]] bool inherited() const noexcept;
  /// Says that the data is in order again.
  void recovered() noexcept;

 protected:
  [[nodiscard]] std::byte* data() const noexcept { return held_.bytes; }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return object_->payload_bytes(); }

 private:
  std::shared_ptr<region> object_;
  held_data held_;
};

/// What is done in one step to a number of at most eight bytes.
enum class atomic_step : std::uint8_t {
  load,
  store,
  exchange,
  compare,
  add,
  sub,
  bit_and,
  bit_or,
  bit_xor
};

/// Does it to a value that may be anywhere; numbers are passed as their bytes.
///
/// @returns what the value was.
[[nodiscard]] std::uint64_t step_anywhere(region& value, atomic_step what, bool floating,
                                          std::size_t bytes, std::uint64_t operand,
                                          std::uint64_t expected);

/// Copies all bytes of a value out, new ones in, or both, under its lock. Null: not that.
void exchange_anywhere(region& value, void* before, const void* desired, std::size_t bytes);

/// The bytes of `count` elements.
///
/// @throws std::invalid_argument below zero, std::length_error beyond all memory.
[[nodiscard]] std::size_t checked_bytes(bool negative, unsigned long long count,
                                        std::size_t element_bytes);
/// @throws std::out_of_range unless `index` is less than `size`.
void check_index(std::size_t index, std::size_t size);

/// What can lie in memory that processes share.
template <class T>
struct must_be_shareable {
  static_assert(!std::is_pointer_v<T> && !std::is_member_pointer_v<T> && !std::is_reference_v<T>,
                "troupe: a pointer or reference cannot be shared, other processes have nothing at "
                "that address: share the value itself, or an index into a troupe::array");
  static_assert(
      !std::is_polymorphic_v<T>,
      "troupe: a type with virtual functions cannot be shared: every object has a pointer "
      "to a table that lies elsewhere in other processes");
  static_assert(std::is_trivially_copyable_v<T> || std::is_polymorphic_v<T>,
                "troupe: only trivially copyable types can be shared, as std::string and "
                "containers point to memory of their own process: use troupe::array of their "
                "elements, or a hosted object");
  static_assert(!std::is_const_v<T> && !std::is_volatile_v<T>,
                "troupe: a shared type is neither const nor volatile");
  static_assert(alignof(T) <= 4096, "troupe: a shared type is aligned to a page at most");
  static constexpr bool value = true;
};

/// For an array of which the memory that arrived is no whole number of elements.
///
/// @throws error{protocol_error}.
[[noreturn]] void fail_partial_elements(const input_archive& ar, const std::type_info& handle);

}  // namespace troupe::detail
