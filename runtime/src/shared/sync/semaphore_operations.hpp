// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

#include <cstddef>

namespace troupe::detail {

/// What both semaphores do.
///
/// @throws what the members of semaphore and bounded_semaphore throw.
class semaphore_operations : public object_operations {
 public:
  /// False: no permit before the deadline.
  [[nodiscard]] virtual bool acquire(region& object, const deadline& until) const = 0;
  /// `count` is positive.
  virtual void release(region& object, std::ptrdiff_t count) const = 0;
  [[nodiscard]] virtual std::ptrdiff_t value(region& object) const = 0;

 protected:
  ~semaphore_operations() = default;
};

}  // namespace troupe::detail
