// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

#include <cstddef>
#include <functional>

namespace troupe::detail {

/// What a barrier does.
///
/// @throws what the members of barrier throw.
class barrier_operations : public object_operations {
 public:
  /// `action` is called in this thread if it comes last; it may be empty.
  [[nodiscard]] virtual std::size_t arrive(region& object, const deadline& until,
                                           const std::function<void()>& action) const = 0;
  virtual void abort(region& object) const = 0;
  virtual void reset(region& object) const = 0;
  [[nodiscard]] virtual std::size_t parties(region& object) const = 0;
  [[nodiscard]] virtual std::size_t waiting(region& object) const = 0;
  [[nodiscard]] virtual bool broken(region& object) const = 0;

 protected:
  ~barrier_operations() = default;
};

}  // namespace troupe::detail
