// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string_view>

// Fail-points: named places where a test makes this or any other process of the program fail. They
// exist only where TROUPE_FAILPOINTS is defined (the CMake option of that name). The table lies in
// memory shared by the program and all its workers, so a point armed in the test counts down
// across processes.
namespace troupe::detail::failpoint {

enum class action : std::uint32_t {
  none,
  kill,         ///< SIGKILL to the own process
  segv,         ///< SIGSEGV with the default action
  exit_zero,    ///< _exit(0)
  stop,         ///< SIGSTOP to the own process
  throw_error,  ///< throw std::runtime_error
  give_errno,   ///< the guarded system call fails with `value`, without being made
  hang,         ///< never goes on
};

/// Arms `name`: it fires at its `nth` hit from now on, and at the `times - 1` hits after that.
/// `value` is the errno for `give_errno`.
void arm(std::string_view name, action what, std::uint32_t nth = 1, std::uint32_t times = 1,
         int value = 0);

/// Disarms all points and forgets their hits.
void reset();

/// How often `name` was reached in any process since it was armed; 0 for a point never armed.
std::uint32_t hits(std::string_view name);

/// Called by the places themselves; returns the errno to fail with, 0 to go on.
int hit(std::string_view name);

/// The descriptor of the shared table, for programs started by exec; -1 where not compiled in.
int table_descriptor();
void adopt_table(int descriptor);

}  // namespace troupe::detail::failpoint

#if defined(TROUPE_FAILPOINTS) && TROUPE_FAILPOINTS
#define TROUPE_FAILPOINT(name) static_cast<void>(::troupe::detail::failpoint::hit(name))
#define TROUPE_FAILPOINT_ERRNO(name) (::troupe::detail::failpoint::hit(name))
#else
#define TROUPE_FAILPOINT(name) static_cast<void>(0)
#define TROUPE_FAILPOINT_ERRNO(name) 0
#endif
