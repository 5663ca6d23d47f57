// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/queue_core.hpp"
#include "troupe/detail/region.hpp"

#include <memory>

namespace troupe::detail {

/// How the handle of a queue is made of its region that arrived. All else is the queue_core's.
class queue_operations : public object_operations {
 public:
  /// Reads what follows the region in the bytes of a handle.
  ///
  /// @throws error{protocol_error} if it is not of the same queue; error{resource_exhausted}.
  [[nodiscard]] virtual std::shared_ptr<queue_core> load(std::shared_ptr<region> object,
                                                         input_archive& ar,
                                                         const queue_spec& spec) const = 0;

 protected:
  ~queue_operations() = default;
};

}  // namespace troupe::detail
