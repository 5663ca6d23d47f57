// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace troupe::detail {

/// Ends this process, without exit handlers and destructors of static objects: in a copy of a
/// program they belong to the program itself. What was written to the standard streams comes out,
/// and so do the counters of a coverage tool (gcov, llvm-cov), for which there is an exit handler.
[[noreturn]] void leave(int status) noexcept;

/// From now on exit ends this process as `leave` does, once it has run the handlers that were
/// registered after this, and written what is left in files opened by fopen.
///
/// @param first called before that; may be null.
void leave_in_exit(void (*first)());

}  // namespace troupe::detail
