// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

// What the handles of imported objects do: each operation is a message to the exporter, and blocks
// until that has answered or the link is cut.
namespace troupe::detail {

/// Of an object of that kind. Null: nothing can be done with it here.
[[nodiscard]] const object_operations* imported_operations_of(object_kind kind) noexcept;

[[nodiscard]] const object_operations& imported_mutex_operations() noexcept;
[[nodiscard]] const object_operations& imported_semaphore_operations() noexcept;
[[nodiscard]] const object_operations& imported_event_operations() noexcept;
[[nodiscard]] const object_operations& imported_condition_operations() noexcept;
[[nodiscard]] const object_operations& imported_barrier_operations() noexcept;
[[nodiscard]] const object_operations& imported_data_operations() noexcept;
[[nodiscard]] const object_operations& imported_queue_operations() noexcept;

}  // namespace troupe::detail
