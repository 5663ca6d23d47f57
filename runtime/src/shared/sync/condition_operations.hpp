// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

#include <cstddef>

namespace troupe::detail {

/// What a condition does.
///
/// @throws what the members of condition throw.
class condition_operations : public object_operations {
 public:
  /// `mutex` is that of a mutex or a recursive_mutex. False: not notified before the deadline.
  [[nodiscard]] virtual bool wait(region& object, region& mutex, const deadline& until) const = 0;
  /// `count` is not negative.
  virtual void notify(region& object, std::ptrdiff_t count) const = 0;
  [[nodiscard]] virtual std::size_t waiting(region& object) const = 0;

 protected:
  ~condition_operations() = default;
};

}  // namespace troupe::detail
