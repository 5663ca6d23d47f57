// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <cstdint>
#include <string_view>

namespace troupe {

/// How a worker process comes to be. What a task needs is in its arguments or in the pool's
/// initializer, so programs mean the same under all three.
///
/// A handle of a shared object in a variable of the program (a global queue, say) is the same
/// object in a process that was forked from one with that object: under `fork`; under `forkserver`
/// if it was there before troupe::system, and main had one thread only then. Elsewhere the variable
/// was made anew, and is another object: hand handles over, to an initializer that assigns them,
/// say. Connections and listeners in variables are closed in new processes in any case.
///
/// With all three, a process begins in the directory, with the umask and with the environment that
/// the process which starts it has at that moment; so does a worker that replaces another one. What
/// else it begins with stands in a table in docs/architecture.md. Of signals: nothing is blocked,
/// handlers of the program are gone, and under `fork` the terminal's SIGTTIN and SIGTTOU are
/// ignored, because a worker is in the background: reading from the terminal fails (EIO).
///
/// @follows Python's multiprocessing, where only fork hands over all that the parent had in memory.
enum class start_method : std::uint8_t {
  forkserver,  ///< forked from a small process that was started before any thread: fast, the
               ///< default; like spawn where that process has threads (see `system`)
  spawn,       ///< this program, executed anew: nothing inherited, about a millisecond slower. It
               ///< is the build that runs, even if its file was replaced since. Refused (EPERM) in
               ///< a program that got rights by being executed: set-uid, set-gid, capabilities
  fork,        ///< forked from this process as it is, without its other threads: locks that those
               ///< held stay locked in the child
};

/// The enumerator's name: "forkserver", "spawn", "fork".
[[nodiscard]] std::string_view to_string(start_method method) noexcept;

/// The method used where no `.start =` says otherwise; may be changed at any time. Processes and
/// workers begin with the one of the process that started them.
///
/// @threads any.
void set_start_method(start_method method) noexcept;
/// What `set_start_method` said last; forkserver before that.
///
/// @threads any.
[[nodiscard]] start_method get_start_method() noexcept;

namespace detail {
/// What the process that started this one said; a number that is no method changes nothing.
void adopt_start_method(std::uint64_t method) noexcept;
}  // namespace detail
}  // namespace troupe
