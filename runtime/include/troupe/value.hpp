// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/guarded_memory.hpp"

#include <atomic>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <typeinfo>

namespace troupe {

namespace detail {

template <class T>
consteval bool check_lock_free() {
  if constexpr (std::is_trivially_copyable_v<T> && !std::is_const_v<T>) {
    return std::atomic_ref<T>::is_always_lock_free;
  } else {
    return false;
  }
}

template <class T>
void make_blank(region& made) {
  ::new (static_cast<void*>(made.payload())) T{};
}

template <class Handle, class T>
[[nodiscard]] region_spec value_spec(const object_options& options = {}) {
  static const std::uint64_t tag = type_tag_of(typeid(Handle), sizeof(T));
  return {.rules = &value_rules<T>,
          .name = options.name,
          .payload_bytes = sizeof(T),
          .type_tag = tag,
          .init = &make_blank<T>,
          .unguarded = !Handle::has_lock};
}

/// One step on a value of a lock-free type, wherever it is.
template <class T>
[[nodiscard]] T step_anywhere(region& value, atomic_step what, const T* operand,
                              const T* expected) {
  std::uint64_t bits = 0;
  std::uint64_t expected_bits = 0;
  static_assert(sizeof(T) <= sizeof bits);
  if (operand != nullptr) {
    std::memcpy(&bits, operand, sizeof(T));
  }
  if (expected != nullptr) {
    std::memcpy(&expected_bits, expected, sizeof(T));
  }
  const std::uint64_t before =
      step_anywhere(value, what, std::is_floating_point_v<T>, sizeof(T), bits, expected_bits);
  T was{};
  std::memcpy(static_cast<void*>(&was), &before, sizeof(T));
  return was;
}

}  // namespace detail

/// One value of a trivially copyable type that processes share, with a lock.
///
/// Copies of it are the same value; what holds for every handle is told at object_kind. There are
/// two ways to it, and a value should be used in one of them: under the lock (`lock()`, and all of
/// it if T is not lock-free), or by atomic operations (`load`, `store`, `fetch_add`, ..., if T is
/// lock-free: these do not take the lock, and are atomic against each other, not against a thread
/// that holds a guard).
///
/// @follows Python's Value; the operations std::atomic. There is no `n += 1`, which would read as
///   one step and be two: write `n.fetch_add(1)`, or `++*n.lock()`.
/// @blocks operations on the whole value: not if T is lock-free, else until the lock is the
///   caller's.
/// @threads any.
/// @crosses the same value at both ends.
/// @worker_dies with the lock: the next guard gets it, and its `inherited()` is true until
///   `recovered()` is called. Atomic operations are done or not done.
/// @throws what every handle throws, see object_kind; from operations on the whole value, if T is
///   not lock-free, as lock.
template <class T>
class value : public detail::object_handle {
  static_assert(detail::must_be_shareable<T>::value);

 public:
  /// The type of the value.
  using value_type = T;
  /// True: operations on the whole value are atomic, and do without the lock.
  static constexpr bool is_lock_free = detail::check_lock_free<T>();
  /// True: a value has a lock, unlike raw_value.
  static constexpr bool has_lock = true;

  /// The lock, and through it the value. The thread that made the guard destroys it, which releases
  /// the lock.
  ///
  /// @threads the one that made it.
  /// @crosses no.
  class [[nodiscard]] guard : public detail::data_lock {
   public:
    /// @{
    /// The value, valid as long as the guard.
    [[nodiscard]] T& operator*() const noexcept { return *get(); }
    [[nodiscard]] T* operator->() const noexcept { return get(); }
    /// @}

   private:
    friend class value;
    explicit guard(std::shared_ptr<detail::region> object) : data_lock{std::move(object)} {}
    [[nodiscard]] T* get() const noexcept { return reinterpret_cast<T*>(data()); }
  };

  /// A new value, `T{}`.
  ///
  /// @throws error{resource_exhausted}.
  value() : object_handle{detail::region::create_default(detail::value_spec<value, T>())} {}
  /// A new value, a copy of `initial`.
  ///
  /// @throws error{resource_exhausted}.
  explicit value(const T& initial, const object_options& options = {})
      : object_handle{detail::region::create(detail::value_spec<value, T>(options))} {
    std::memcpy(static_cast<void*>(object_->payload()), &initial, sizeof initial);
  }

  /// Takes the lock, for as long as the guard lives.
  ///
  /// @blocks until the lock is the caller's.
  /// @throws std::system_error{resource_deadlock_would_occur} if the thread has a guard of it.
  guard lock() const {
    static_cast<void>(object());
    return guard{object_};
  }

  /// A copy of the value.
  [[nodiscard]] T load() const {
    if constexpr (is_lock_free) {
      return step(detail::atomic_step::load, nullptr, [](auto here) { return here.load(); });
    } else {
      T now;  // all its bytes are written here
      detail::exchange_anywhere(object(), &now, nullptr, sizeof(T));
      return now;
    }
  }
  /// Replaces the value.
  void store(const T& desired) const {
    if constexpr (is_lock_free) {
      static_cast<void>(step(detail::atomic_step::store, &desired, [&](auto here) {
        here.store(desired);
        return desired;
      }));
    } else {
      detail::exchange_anywhere(object(), nullptr, &desired, sizeof(T));
    }
  }
  /// Replaces the value.
  ///
  /// @returns what it was before.
  T exchange(const T& desired) const {
    if constexpr (is_lock_free) {
      return step(detail::atomic_step::exchange, &desired,
                  [&](auto here) { return here.exchange(desired); });
    } else {
      T before;  // all its bytes are written here
      detail::exchange_anywhere(object(), &before, &desired, sizeof(T));
      return before;
    }
  }
  /// Replaces the value by `desired` if it is `expected`; else `expected` becomes what it is.
  /// Compares bytes, like std::atomic, if T is lock-free or has no ==.
  ///
  /// @returns true: it was replaced.
  bool compare_exchange(T& expected, const T& desired) const {
    if constexpr (is_lock_free) {
      if (detail::region* const here = mapped()) [[likely]] {
        return atomic(*here).compare_exchange_strong(expected, desired);
      }
      const T was = detail::step_anywhere(object(), detail::atomic_step::compare, &desired,
                                          static_cast<const T*>(&expected));
      const bool same = std::memcmp(&was, &expected, sizeof was) == 0;
      std::memcpy(static_cast<void*>(&expected), &was, sizeof was);
      return same;
    } else {
      return under_lock([&](T& shared) {
        if (!equal(shared, expected)) {
          expected = shared;
          return false;
        }
        shared = desired;
        return true;
      });
    }
  }
  /// Adds `count`.
  ///
  /// @returns what it was before.
  T fetch_add(T count) const
    requires std::is_arithmetic_v<T> && (!std::is_same_v<T, bool>)
  {
    if constexpr (is_lock_free) {
      return step(detail::atomic_step::add, &count,
                  [count](auto here) { return here.fetch_add(count); });
    } else {
      return under_lock([&](T& shared) {
        const T before = shared;
        shared = static_cast<T>(shared + count);
        return before;
      });
    }
  }
  /// Subtracts `count`.
  ///
  /// @returns what it was before.
  T fetch_sub(T count) const
    requires std::is_arithmetic_v<T> && (!std::is_same_v<T, bool>)
  {
    if constexpr (is_lock_free) {
      return step(detail::atomic_step::sub, &count,
                  [count](auto here) { return here.fetch_sub(count); });
    } else {
      return under_lock([&](T& shared) {
        const T before = shared;
        shared = static_cast<T>(shared - count);
        return before;
      });
    }
  }
  /// Keeps only the bits that are in `bits`.
  ///
  /// @returns what it was before.
  T fetch_and(T bits) const
    requires std::integral<T> && is_lock_free && (!std::is_same_v<T, bool>)
  {
    return step(detail::atomic_step::bit_and, &bits,
                [bits](auto here) { return here.fetch_and(bits); });
  }
  /// Sets the bits that are in `bits`.
  ///
  /// @returns what it was before.
  T fetch_or(T bits) const
    requires std::integral<T> && is_lock_free && (!std::is_same_v<T, bool>)
  {
    return step(detail::atomic_step::bit_or, &bits,
                [bits](auto here) { return here.fetch_or(bits); });
  }
  /// Inverts the bits that are in `bits`.
  ///
  /// @returns what it was before.
  T fetch_xor(T bits) const
    requires std::integral<T> && is_lock_free && (!std::is_same_v<T, bool>)
  {
    return step(detail::atomic_step::bit_xor, &bits,
                [bits](auto here) { return here.fetch_xor(bits); });
  }

  /// The same object, not an equal value.
  [[nodiscard]] bool operator==(const value& other) const noexcept { return same(other); }
  /// How the codec writes a handle.
  void save(output_archive& ar) const { save_handle(ar); }
  /// How the codec reads a handle.
  void load(input_archive& ar) {
    load_handle(ar, detail::value_rules<T>, detail::value_spec<value, T>().type_tag);
  }

 private:
  [[nodiscard]] static std::atomic_ref<T> atomic(const detail::region& here) {
    return std::atomic_ref<T>{*reinterpret_cast<T*>(here.payload())};
  }
  /// `inlined` of the value if its memory is mapped, else the same step by its operations.
  template <class Inlined>
  T step(detail::atomic_step what, const T* operand, Inlined inlined) const {
    if (detail::region* const here = mapped()) [[likely]] {
      return inlined(atomic(*here));
    }
    return detail::step_anywhere<T>(object(), what, operand, nullptr);
  }
  template <class Operation>
  auto under_lock(Operation operation) const {
    static_cast<void>(object());
    const guard held{object_};
    return operation(*held);
  }
  static bool equal(const T& a, const T& b) {
    if constexpr (std::equality_comparable<T>) {
      return a == b;
    } else {
      return std::memcmp(&a, &b, sizeof a) == 0;
    }
  }
};

/// One value that processes share, without a lock: a program that writes it sees to it that no
/// other thread or process uses it meanwhile.
///
/// Copies of it are the same value; what holds for every handle is told at object_kind.
///
/// @follows Python's RawValue.
/// @threads any; the program orders accesses to the value.
/// @crosses the same value at both ends; not to another machine.
/// @worker_dies what it has written stays, whole or in part.
/// @throws what every handle throws, see object_kind.
template <class T>
class raw_value : public detail::object_handle {
  static_assert(detail::must_be_shareable<T>::value);

 public:
  /// The type of the value.
  using value_type = T;
  /// False: a raw_value has no lock, unlike value.
  static constexpr bool has_lock = false;

  /// A new value, `T{}`.
  ///
  /// @throws error{resource_exhausted}.
  raw_value() : object_handle{detail::region::create_default(detail::value_spec<raw_value, T>())} {}
  /// A new value, a copy of `initial`.
  ///
  /// @throws error{resource_exhausted}.
  explicit raw_value(const T& initial, const object_options& options = {})
      : object_handle{detail::region::create(detail::value_spec<raw_value, T>(options))} {
    **this = initial;
  }

  /// @{
  /// The value, valid as long as there is a handle in this process.
  ///
  /// @throws error{not_on_this_machine} for a value of another machine.
  [[nodiscard]] T& operator*() const { return *reinterpret_cast<T*>(get().payload()); }
  [[nodiscard]] T* operator->() const { return &**this; }
  /// @}

  /// The same object, not an equal value.
  [[nodiscard]] bool operator==(const raw_value& other) const noexcept { return same(other); }
  /// How the codec writes a handle.
  void save(output_archive& ar) const { save_handle(ar); }
  /// How the codec reads a handle.
  void load(input_archive& ar) {
    load_handle(ar, detail::value_rules<T>, detail::value_spec<raw_value, T>().type_tag);
  }
};

}  // namespace troupe
