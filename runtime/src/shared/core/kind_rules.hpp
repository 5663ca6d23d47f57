// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

// The rules of each kind, for code that learns the kind of an object from its header or from a
// message. Each is defined in the room of its kind.
namespace troupe::detail {

extern const object_rules mutex_rules;
extern const object_rules recursive_rules;
extern const object_rules semaphore_rules;
extern const object_rules bounded_rules;
extern const object_rules event_rules;
extern const object_rules condition_rules;
extern const object_rules barrier_rules;
/// Of values and arrays whose element type is not known.
extern const object_rules any_value_rules;
extern const object_rules any_array_rules;
extern const object_rules memory_rules;
/// Of queue, lifo_queue and priority_queue.
[[nodiscard]] const object_rules& queue_rules(object_kind kind);

/// Null for a number that is no kind.
[[nodiscard]] const object_rules* rules_of_kind(object_kind kind) noexcept;

}  // namespace troupe::detail
