// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/guarded_memory.hpp"

#include "troupe/detail/archive.hpp"
#include "troupe/error.hpp"

#include "shared/core/kind_rules.hpp"
#include "shared/core/object_lock.hpp"
#include "shared/core/robust_lock_fast.hpp"
#include "shared/data/data_operations.hpp"

#include <atomic>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

namespace troupe::detail {
namespace {

void lock_data(region& object) {
  if (acquire_object(object, std::nullopt) == lock_result::own) {
    throw_locked_already("troupe: this thread has a guard of this value or array already");
  }
}

[[noreturn]] void fail_step() {
  throw error{errc::protocol_error, task_ran::no, "there is no such step on a value"};
}

template <class Number>
Number do_step(std::atomic_ref<Number> on, atomic_step what, Number operand, Number expected) {
  switch (what) {
    case atomic_step::load:
      return on.load();
    case atomic_step::store:
    case atomic_step::exchange:
      return on.exchange(operand);
    case atomic_step::compare:
      on.compare_exchange_strong(expected, operand);
      return expected;
    case atomic_step::add:
      return on.fetch_add(operand);
    case atomic_step::sub:
      return on.fetch_sub(operand);
    default:
      break;
  }
  if constexpr (std::integral<Number>) {
    switch (what) {
      case atomic_step::bit_and:
        return on.fetch_and(operand);
      case atomic_step::bit_or:
        return on.fetch_or(operand);
      case atomic_step::bit_xor:
        return on.fetch_xor(operand);
      default:
        break;
    }
  }
  fail_step();
}

template <class Number>
std::uint64_t step_on(region& object, const step_on_number& step) {
  Number given{};
  Number compared{};
  std::memcpy(&given, &step.operand, sizeof given);
  std::memcpy(&compared, &step.expected, sizeof compared);
  const Number before = do_step(std::atomic_ref{*reinterpret_cast<Number*>(object.payload())},
                                step.what, given, compared);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &before, sizeof before);
  return bits;
}

class local_data final : public data_operations {
 public:
  held_data lock(region& object) const override {
    lock_data(object);
    return {.bytes = object.payload()};
  }
  void unlock(region& object, held_data& held) const noexcept override {
    held.bytes = nullptr;
    release_owned(object.lock());
  }
  bool inherited(region& object, const held_data& /*held*/) const noexcept override {
    return object.lock().inherited.load(std::memory_order_relaxed) != 0;
  }
  void recovered(region& object, held_data& /*held*/) const noexcept override {
    object.lock().inherited.store(0, std::memory_order_relaxed);
  }
  std::uint64_t step(region& object, const step_on_number& step) const override;
  void exchange(region& object, std::span<std::byte> before,
                std::span<const std::byte> desired) const override;
};

std::uint64_t local_data::step(region& object, const step_on_number& step) const {
  // Other steps than these look at the bytes, whatever they mean.
  const bool counts = step.what == atomic_step::add || step.what == atomic_step::sub;
  if (step.is_floating && counts) {
    switch (step.bytes) {
      case 4:
        return step_on<float>(object, step);
      case 8:
        return step_on<double>(object, step);
      default:
        fail_step();
    }
  }
  switch (step.bytes) {
    case 1:
      return step_on<std::uint8_t>(object, step);
    case 2:
      return step_on<std::uint16_t>(object, step);
    case 4:
      return step_on<std::uint32_t>(object, step);
    case 8:
      return step_on<std::uint64_t>(object, step);
    default:
      fail_step();
  }
}

void local_data::exchange(region& object, std::span<std::byte> before,
                          std::span<const std::byte> desired) const {
  lock_data(object);
  if (!before.empty()) {
    std::memcpy(before.data(), object.payload(), before.size());
  }
  if (!desired.empty()) {
    std::memcpy(object.payload(), desired.data(), desired.size());
  }
  release_owned(object.lock());
}

}  // namespace

const object_operations& local_data_operations() noexcept {
  static constexpr local_data one;
  return one;
}

constexpr object_rules any_value_rules{
    .kind = object_kind::value, .min_payload_bytes = 1, .local = &local_data_operations};
constexpr object_rules any_array_rules{.kind = object_kind::array, .local = &local_data_operations};

data_lock::data_lock(std::shared_ptr<region> object) : object_{std::move(object)} {
  if (object_->is_mapped() && try_acquire_fast(object_->lock()) <= lock_result::inherited)
      [[likely]] {
    held_.bytes = object_->payload();
    return;
  }
  held_ = object_->operations<data_operations>().lock(*object_);
}

data_lock::data_lock(data_lock&& other) noexcept = default;

data_lock::~data_lock() {
  if (object_ == nullptr) {
    return;
  }
  if (object_->is_mapped()) [[likely]] {
    release_owned(object_->lock());
    return;
  }
  object_->operations<data_operations>().unlock(*object_, held_);
}

bool data_lock::inherited() const noexcept {
  return object_->operations<data_operations>().inherited(*object_, held_);
}

void data_lock::recovered() noexcept {
  object_->operations<data_operations>().recovered(*object_, held_);
}

std::uint64_t step_anywhere(region& value, atomic_step what, bool floating, std::size_t bytes,
                            std::uint64_t operand, std::uint64_t expected) {
  return value.operations<data_operations>().step(value, {.what = what,
                                                          .is_floating = floating,
                                                          .bytes = bytes,
                                                          .operand = operand,
                                                          .expected = expected});
}

void exchange_anywhere(region& value, void* before, const void* desired, std::size_t bytes) {
  value.operations<data_operations>().exchange(
      value, {static_cast<std::byte*>(before), before != nullptr ? bytes : 0},
      {static_cast<const std::byte*>(desired), desired != nullptr ? bytes : 0});
}

std::size_t checked_bytes(bool negative, unsigned long long count, std::size_t element_bytes) {
  if (negative) {
    throw std::invalid_argument{"troupe: the number of elements of a shared array is negative"};
  }
  if (count >
      static_cast<unsigned long long>(std::numeric_limits<std::ptrdiff_t>::max()) / element_bytes) {
    throw std::length_error{"troupe: a shared array of " + std::to_string(count) +
                            " elements is larger than any memory"};
  }
  return static_cast<std::size_t>(count) * element_bytes;
}

void check_index(std::size_t index, std::size_t size) {
  if (index >= size) {
    throw std::out_of_range{"troupe: index " + std::to_string(index) + " of a shared array of " +
                            std::to_string(size)};
  }
}

void fail_partial_elements(const input_archive& ar, const std::type_info& handle) {
  ar.fail("its size is no whole number of elements", handle);
}

}  // namespace troupe::detail
