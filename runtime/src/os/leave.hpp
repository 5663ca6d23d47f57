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

/// What the program has written to its standard streams, and the streams still keep: written now,
/// so that no copy of this process writes it again. While this process has one thread.
void flush_standard_streams();

/// The same in a copy of a program with threads: what it was copied with is dropped, because the
/// program writes it. (The program's own streams cannot be flushed before it is copied: while they
/// are not synchronised with stdio only the thread that uses them may touch them.)
void drop_copied_output();

}  // namespace troupe::detail
