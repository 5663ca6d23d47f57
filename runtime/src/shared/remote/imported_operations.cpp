// SPDX-License-Identifier: BSD-3-Clause
#include "shared/remote/imported_operations.hpp"

namespace troupe::detail {

const object_operations* imported_operations_of(object_kind kind) noexcept {
  switch (kind) {
    case object_kind::mutex:
    case object_kind::recursive_mutex:
      return &imported_mutex_operations();
    case object_kind::value:
    case object_kind::array:
      return &imported_data_operations();
    case object_kind::semaphore:
    case object_kind::bounded_semaphore:
      return &imported_semaphore_operations();
    case object_kind::event:
      return &imported_event_operations();
    case object_kind::condition:
      return &imported_condition_operations();
    case object_kind::barrier:
      return &imported_barrier_operations();
    case object_kind::queue:
    case object_kind::lifo_queue:
    case object_kind::priority_queue:
      return &imported_queue_operations();
    case object_kind::shared_memory:
    case object_kind::none:
      break;
  }
  return nullptr;
}

}  // namespace troupe::detail
