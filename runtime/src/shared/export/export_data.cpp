// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/guarded_memory.hpp"

#include "shared/core/object_lock.hpp"
#include "shared/core/robust_lock_fast.hpp"
#include "shared/export/export_operation.hpp"

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <typeinfo>

namespace troupe::detail {
namespace {

/// Takes the lock of a value or an array for one operation, or for a guard.
void lock_data(region& object) {
  if (acquire_object(object, std::nullopt) == lock_result::own) {
    throw_locked_already("troupe: this thread has a guard of this value or array already");
  }
}

class locked_data {
 public:
  explicit locked_data(region& object) : object_{object} { lock_data(object); }
  ~locked_data() { release_owned(object_.lock()); }
  locked_data(const locked_data&) = delete;
  locked_data& operator=(const locked_data&) = delete;

 private:
  region& object_;
};

template <class Number>
Number step(std::atomic_ref<Number> on, atomic_step what, Number operand, Number expected) {
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
  throw error{errc::protocol_error, task_ran::no, "there is no such step on a value"};
}

template <class Number>
std::uint64_t step_on(region& object, atomic_step what, std::uint64_t operand,
                      std::uint64_t expected) {
  Number given{};
  Number compared{};
  std::memcpy(&given, &operand, sizeof given);
  std::memcpy(&compared, &expected, sizeof compared);
  const Number before =
      step(std::atomic_ref{*reinterpret_cast<Number*>(object.payload())}, what, given, compared);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &before, sizeof before);
  return bits;
}

void step_on_value(operation_on& op) {
  const auto what = static_cast<atomic_step>(op.argument<std::uint8_t>());
  const bool floating = op.argument<bool>();
  const std::size_t bytes = op.argument<std::uint8_t>();
  const auto operand = op.argument<std::uint64_t>();
  const auto expected = op.argument<std::uint64_t>();
  op.begin();
  region& object = *op.on.object;
  if (object.kind() != object_kind::value || object.payload_bytes() != bytes) {
    op.refuse();
  }
  // Other steps than these look at the bytes, whatever they mean.
  const bool counts = what == atomic_step::add || what == atomic_step::sub;
  const auto run = [&]<class Number>() { return step_on<Number>(object, what, operand, expected); };
  if (floating && counts) {
    switch (bytes) {
      case 4:
        return op.answer(run.operator()<float>());
      case 8:
        return op.answer(run.operator()<double>());
      default:
        op.refuse();
    }
  }
  switch (bytes) {
    case 1:
      return op.answer(run.operator()<std::uint8_t>());
    case 2:
      return op.answer(run.operator()<std::uint16_t>());
    case 4:
      return op.answer(run.operator()<std::uint32_t>());
    case 8:
      return op.answer(run.operator()<std::uint64_t>());
    default:
      op.refuse();
  }
}

void exchange_data(operation_on& op) {
  const bool wanted = op.argument<bool>();
  const bool given = op.argument<bool>();
  region& object = *op.on.object;
  const std::size_t bytes = object.payload_bytes();
  const std::byte* const from = given ? op.in.skip(bytes, typeid(region)) : nullptr;
  op.begin();
  const locked_data held{object};
  if (wanted) {
    op.out.write(object.payload(), bytes);
  }
  if (from != nullptr) {
    std::memcpy(object.payload(), from, bytes);
  }
}

void unlock_data(operation_on& op) {
  region& object = *op.on.object;
  const bool recovered = op.argument<bool>();
  const auto at = op.argument<std::uint64_t>();
  const std::size_t bytes = op.in.read_exact_size(1, typeid(region));
  const std::byte* const from = op.in.skip(bytes, typeid(region));
  op.begin();
  if (at > object.payload_bytes() || bytes > object.payload_bytes() - at) {
    op.refuse();
  }
  if (!owned_by_caller(object.lock())) {
    throw_not_locked("troupe: a guard that this thread does not have");
  }
  if (bytes != 0) {
    std::memcpy(object.payload() + at, from, bytes);
  }
  if (recovered) {
    object.lock().inherited.store(0, std::memory_order_relaxed);
  }
  op.as.gave(op.on.object);
  release_owned(object.lock());
}

}  // namespace

void perform_on_data(operation_on& op) {
  switch (op.what) {
    case remote_op::step:
      return step_on_value(op);
    case remote_op::exchange:
      return exchange_data(op);
    case remote_op::lock_data: {
      op.begin();
      region& object = *op.on.object;
      lock_data(object);
      op.as.took(op.on.object);
      op.out(object.lock().inherited.load(std::memory_order_relaxed) != 0);
      return op.out.write(object.payload(), object.payload_bytes());
    }
    case remote_op::unlock_data:
      return unlock_data(op);
    default:
      op.refuse();
  }
}

}  // namespace troupe::detail
