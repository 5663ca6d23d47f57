// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <sys/types.h>

namespace troupe::detail {

class worker_channel;

/// From now on SIGTERM ends this process, a worker, only if it comes from those who may end it: its
/// parent (the fork server), its program `program`, or the worker itself. From others the worker
/// tells it to its supervisor, and nothing more happens: a service manager that stops a program
/// sends SIGTERM to every process of it, and a program that drains needs its workers for that. In a
/// child that a task forks SIGTERM does what it does by default.
///
/// A task may install a handler of its own instead.
///
/// @param program 0: not known.
/// @param channel it lives as long as the process.
void take_sigterm(pid_t program, worker_channel& channel);

}  // namespace troupe::detail
