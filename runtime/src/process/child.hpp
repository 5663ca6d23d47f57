// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "process/launcher.hpp"

#include <sys/resource.h>
#include <sys/types.h>

#include <initializer_list>
#include <span>
#include <string>
#include <vector>

// What a process does between being forked and being useful.
namespace troupe::detail::child {

/// The environment variable through which an executed process learns what it is to be.
inline constexpr const char* role_variable = "TROUPE_ROLE";

/// Default dispositions for every signal that has a handler, and for SIGTERM and SIGCHLD in any case;
/// SIGINT ignored or the default; nothing blocked.
void reset_signals(bool ignore_interrupt);

/// In a forked child, while it has one thread: closes every descriptor above 2 but these and those
/// of shared objects. An object that owned one of the others owns nothing from then on.
void close_inherited(std::initializer_list<descriptor*> keep);
/// Closes every descriptor above 2 that is not in `keep`, numbers in order; allocates nothing.
void close_all_between(std::span<const int> keep);

/// stdin becomes /dev/null; closed stdout and stderr too, so that no other file gets their numbers.
void plug_standard_streams();

/// Runs `boot` in a freshly forked child: own process group, dies with `parent`, marked for what its
/// tasks leave behind, holds exactly its channel. The process that was copied had no other thread,
/// or the program asked for start_method::fork.
[[noreturn]] void become_worker(worker_boot&& boot, const program& self, pid_t parent);

/// Whether this program, executed by itself, would learn its role. A set-uid or set-gid program (any
/// that got rights by being executed) ignores the variable, because its caller may set it.
bool may_execute_itself();

/// Forks a child that executes the program anew as the worker `boot`, otherwise as `become_worker`.
/// This process may have threads: its copy does nothing before it executes that could wait for one
/// of them. Returns the child's id, or -1 with errno: EPERM if the program may not execute itself.
pid_t start_executed(worker_boot&& boot, const program& self, pid_t parent);

/// The loop of the fork server.
[[noreturn]] void serve(descriptor control, const program& self, pid_t supervisor);

/// Requests to the fork server and what it answers; one socket message each.
enum class op : std::uint32_t {
  launch = 1,
  signal,
  guard,
  unguard,
  launched,
  failed,
  exited,
  ready,
  launch_with_pidfd,  ///< `launched` then comes with a descriptor
  vanished,           ///< it ended, and another thread of the program took its status
  surroundings        ///< of the workers that are launched from now on; descriptors: the directory
                      ///< if `has_directory`, memory with the environment if `has_environment`
};
struct message {
  op what{};
  std::int32_t value = 0;  ///< start method, signal number, errno, wait status, or umask (-1: none)
  std::uint64_t worker = 0;  ///< or the bytes of an environment
  std::int64_t pid = 0;      ///< or flags
  resource_usage usage{};    ///< of `exited`
};

/// Flags of `surroundings`.
inline constexpr std::int64_t has_directory = 1;
inline constexpr std::int64_t has_environment = 2;

// Which worker a process descends from. A daemon's parent has ended and its session and group are
// its own, but what it has inherited tells: memory that a fork copies, and a variable of the
// environment that an exec takes along. A program that is executed without its parent's environment
// has neither.

/// The mark of a worker, which no other worker on this machine has that lives: `server` is its parent.
std::string mark_of_worker(pid_t server, std::uint64_t worker);

/// Marks the calling process, and all that it will start.
void mark_this_process(const std::string& mark) noexcept;

/// The marks that the process has, those of the workers that its workers descend from included.
/// Empty: none, it has ended, or it may not be looked at.
std::vector<std::string> marks_of(pid_t pid);

/// Of a wait status, and of what the kernel tells with it.
exit_status to_exit_status(int status);
resource_usage to_resource_usage(const rusage& usage);

}  // namespace troupe::detail::child
