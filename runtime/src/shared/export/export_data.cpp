// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/guarded_memory.hpp"

#include "shared/core/object_lock.hpp"
#include "shared/core/robust_lock_fast.hpp"
#include "shared/data/data_operations.hpp"
#include "shared/export/export_operation.hpp"

#include <atomic>
#include <cstddef>
#include <cstring>
#include <typeinfo>
#include <vector>

namespace troupe::detail {
namespace {

const data_operations& operations_of(operation_on& op) {
  return op.on.object->operations<data_operations>();
}

void step_on_value(operation_on& op) {
  step_on_number step;
  step.what = static_cast<atomic_step>(op.argument<std::uint8_t>());
  step.is_floating = op.argument<bool>();
  step.bytes = op.argument<std::uint8_t>();
  step.operand = op.argument<std::uint64_t>();
  step.expected = op.argument<std::uint64_t>();
  op.begin();
  region& object = *op.on.object;
  if (object.kind() != object_kind::value || object.payload_bytes() != step.bytes) {
    op.refuse();
  }
  op.answer(operations_of(op).step(object, step));
}

void exchange_data(operation_on& op) {
  const bool wanted = op.argument<bool>();
  const bool given = op.argument<bool>();
  region& object = *op.on.object;
  const std::size_t bytes = object.payload_bytes();
  const std::byte* const from = given ? op.in.skip(bytes, typeid(region)) : nullptr;
  op.begin();
  std::vector<std::byte> before(wanted ? bytes : 0);
  operations_of(op).exchange(object, before, {from, from != nullptr ? bytes : 0});
  op.out.write(before.data(), before.size());
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
      const held_data held = operations_of(op).lock(object);
      op.as.took(op.on.object);
      op.out(operations_of(op).inherited(object, held));
      return op.out.write(held.bytes, object.payload_bytes());
    }
    case remote_op::unlock_data:
      return unlock_data(op);
    default:
      op.refuse();
  }
}

}  // namespace troupe::detail
