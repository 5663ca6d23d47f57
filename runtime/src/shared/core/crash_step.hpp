// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>

// Death at every step: a test gives a function that is called before and after each store that
// other processes could see half of a change by, and kills the process in one of the calls. Exists
// only where fail-points do.
namespace troupe::detail {

#if defined(TROUPE_FAILPOINTS) && TROUPE_FAILPOINTS
extern std::atomic<void (*)()> crash_hook;
inline void crash_step() {
  if (auto* const hook = crash_hook.load(std::memory_order_relaxed)) [[unlikely]] {
    hook();
  }
}
#else
inline void crash_step() noexcept {}
#endif

}  // namespace troupe::detail
