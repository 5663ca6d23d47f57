// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

namespace troupe::detail {

/// What an event does.
///
/// @throws what the members of event throw.
class event_operations : public object_operations {
 public:
  virtual void set(region& object) const = 0;
  virtual void clear(region& object) const = 0;
  [[nodiscard]] virtual bool is_set(region& object) const = 0;
  /// False: not set before the deadline.
  [[nodiscard]] virtual bool wait(region& object, const deadline& until) const = 0;

 protected:
  ~event_operations() = default;
};

}  // namespace troupe::detail
