// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

// What is the same for all objects of a kind, for who learns the kind from somebody else.
namespace troupe::detail {

extern const object_rules mutex_rules;
extern const object_rules recursive_rules;
extern const object_rules semaphore_rules;
extern const object_rules bounded_rules;
extern const object_rules event_rules;
extern const object_rules condition_rules;
extern const object_rules barrier_rules;
/// Of queue, lifo_queue and priority_queue.
[[nodiscard]] const object_rules& queue_rules(object_kind kind);

/// Null for a number that is no kind.
[[nodiscard]] const object_rules* rules_of_kind(object_kind kind) noexcept;

}  // namespace troupe::detail
