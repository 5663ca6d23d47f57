// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/death.hpp"

#include <cstddef>
#include <optional>
#include <span>

// What a worker notes down about itself while a signal is ending it, in memory that its supervisor
// shares. docs/protocol.md has the layout.
namespace troupe::detail {

inline constexpr std::size_t crash_record_bytes = 4096;

struct crash_report {
  crash_details details;
  /// False: the process ended while it was still writing, so that a second signal (SIGALRM, which
  /// bounds its time, or a fault on a damaged stack) may be the one its parent was told of.
  bool complete = false;
};

/// What is in the record, if anything. Every field is checked: its writer may be damaged, or
/// hostile.
[[nodiscard]] std::optional<crash_report> read_crash_record(std::span<const std::byte> record);

/// From now on SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT and SIGSYS end this process by themselves
/// as before, but not without a note in `record`: crash_record_bytes of zeros, shared, mapped for
/// good.
///
/// The calling thread gets a stack of its own for that, so that its stack overflows are noted too.
/// Nothing in the handler waits, and after two seconds SIGALRM ends the process. Does nothing in
/// builds with sanitizers: their own reports are better.
///
/// @threads before the process has others.
/// @crosses no; a child that this process forks crashes without a note.
void install_crash_handler(std::span<std::byte> record);

/// Loads what the first backtrace of a process needs, so that its children need not.
void prepare_backtraces();

}  // namespace troupe::detail
