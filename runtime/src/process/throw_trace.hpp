// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/death.hpp"

#include <memory>
#include <vector>

namespace troupe::detail {

/// Calls `function(argument)`. An exception that leaves it goes on as if this was not here, but
/// where it was thrown is noted before the stack is unwound: see `take_throw_trace`. Costs nothing
/// unless something is thrown. (docs/decisions/0007 tells how. On other processors than x86-64 and
/// AArch64 it is a plain call.)
void watched_call(void (*function)(void*), void* argument);

/// `watched_call` of anything that is called without arguments.
template <class F>
void watched(F&& function) {
  watched_call([](void* f) { (*static_cast<std::remove_reference_t<F>*>(f))(); },
               static_cast<void*>(std::addressof(function)));
}

/// The calls that led to the last exception that left a `watched_call` of this thread, innermost
/// first, at most 32; empty if there was none since the last time.
[[nodiscard]] std::vector<code_location> take_throw_trace();

}  // namespace troupe::detail
