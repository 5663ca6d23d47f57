// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

// Which worker a process descends from. A daemon's parent has ended and its session and group are
// its own, but what it has inherited tells: memory that a fork copies, and a variable of the
// environment that an exec takes along. A program that is executed without its parent's environment
// has neither.
namespace troupe::detail::child {

/// The mark of a worker, which no other worker on this machine has that lives: `server` is its parent.
std::string mark_of_worker(pid_t server, std::uint64_t worker);

/// Marks the calling process, and all that it will start.
void mark_this_process(const std::string& mark) noexcept;

/// The marks that the process has, those of the workers that its workers descend from included.
/// Empty: none, it has ended, or it may not be looked at.
std::vector<std::string> marks_of(pid_t pid);

}  // namespace troupe::detail::child
