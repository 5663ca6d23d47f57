// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

namespace troupe::detail {

/// What both mutexes do.
///
/// @throws what the members of mutex and recursive_mutex throw.
class mutex_operations : public object_operations {
 public:
  virtual void lock(region& object) const = 0;
  /// False: a thread has it, maybe the calling one.
  [[nodiscard]] virtual bool try_lock(region& object) const = 0;
  /// False: not before the deadline, or the calling thread has a lock that is not recursive.
  [[nodiscard]] virtual bool lock_until(region& object, const deadline& until) const = 0;
  virtual void unlock(region& object) const = 0;
  [[nodiscard]] virtual bool inherited(region& object) const = 0;
  virtual void recovered(region& object) const = 0;

 protected:
  ~mutex_operations() = default;
};

}  // namespace troupe::detail
