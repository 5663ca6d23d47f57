// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

// What value<T> and array<T> have below their types.
namespace troupe::detail {

template <class T>
inline constexpr object_rules value_rules{.kind = object_kind::value,
                                          .min_payload_bytes = sizeof(T)};
inline constexpr object_rules array_rules{.kind = object_kind::array};

/// The lock of a value or an array, held while this lives, and released at the end.
class data_lock {
 public:
  /// Throws:  std::system_error{resource_deadlock_would_occur} if the thread has it already.
  explicit data_lock(std::shared_ptr<region> object);
  data_lock(data_lock&& other) noexcept = default;
  data_lock& operator=(data_lock&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  data_lock(const data_lock&) = delete;
  data_lock& operator=(const data_lock&) = delete;
  ~data_lock();

  /// Whether a holder died with the lock since somebody last called `recovered()`: the data may be
  /// half changed.
  [[nodiscard]] bool inherited() const noexcept {
    return object_->lock().inherited.load(std::memory_order_relaxed) != 0;
  }
  /// The data is in order again.
  void recovered() noexcept { object_->lock().inherited.store(0, std::memory_order_relaxed); }

 protected:
  [[nodiscard]] region& object() const noexcept { return *object_; }

 private:
  std::shared_ptr<region> object_;
};

/// How many elements: refuses what cannot be one.
/// Throws:  std::invalid_argument below zero, std::length_error beyond all memory.
[[nodiscard]] std::size_t checked_bytes(bool negative, unsigned long long count,
                                        std::size_t element_bytes);
/// Throws std::out_of_range.
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
  static_assert(std::is_trivially_copyable_v<T>,
                "troupe: only trivially copyable types can be shared, as std::string and "
                "containers point to memory of their own process: use troupe::array of their "
                "elements, or a hosted object");
  static_assert(!std::is_const_v<T> && !std::is_volatile_v<T>,
                "troupe: a shared type is neither const nor volatile");
  static_assert(alignof(T) <= 4096, "troupe: a shared type is aligned to a page at most");
  static constexpr bool value = true;
};

}  // namespace troupe::detail
