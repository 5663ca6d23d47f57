// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/guarded_memory.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace troupe::detail {

/// One step of an atomic operation on a value: numbers are passed as their bytes.
struct step_on_number {
  atomic_step what = atomic_step::load;
  bool is_floating = false;
  std::size_t bytes = 0;  ///< of the value's type
  std::uint64_t operand = 0;
  std::uint64_t expected = 0;  ///< of `compare`
};

/// What values and arrays do, for memory of any type.
class data_operations : public object_operations {
 public:
  /// Takes the lock.
  ///
  /// @blocks until it is the caller's.
  /// @throws std::system_error{resource_deadlock_would_occur} if the thread has it already.
  [[nodiscard]] virtual held_data lock(region& object) const = 0;
  /// Releases what `lock` has returned, and leaves nothing of it.
  virtual void unlock(region& object, held_data& held) const noexcept = 0;
  [[nodiscard]] virtual bool inherited(region& object, const held_data& held) const noexcept = 0;
  virtual void recovered(region& object, held_data& held) const noexcept = 0;

  /// @returns what the value was.
  /// @throws error{protocol_error} for a step that there is not.
  [[nodiscard]] virtual std::uint64_t step(region& object, const step_on_number& step) const = 0;
  /// Copies all bytes out, new ones in, or both, under the lock. An empty span: not that; else it
  /// has as many bytes as the object.
  ///
  /// @throws as lock.
  virtual void exchange(region& object, std::span<std::byte> before,
                        std::span<const std::byte> desired) const = 0;

 protected:
  ~data_operations() = default;
};

}  // namespace troupe::detail
