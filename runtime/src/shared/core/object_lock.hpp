// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

// The lock of a region as its users have it: mutexes, and the guards of values and arrays.
namespace troupe::detail {

/// Takes the region's lock, and counts the thread as waiting meanwhile.
[[nodiscard]] lock_result acquire_object(region& object, const deadline& until);

/// One more level. Throws std::system_error if there cannot be more.
void lock_again(lock_state& lock);

[[noreturn]] void throw_not_locked(const char* what);
[[noreturn]] void throw_locked_already(const char* what);

}  // namespace troupe::detail
