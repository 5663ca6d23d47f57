// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// The only raw system calls of the library: EINTR, errno and close-on-exec are handled once, here.

#include "troupe/detail/descriptor.hpp"
#include "troupe/error.hpp"

#include <dirent.h>
#include <signal.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace troupe::sys {

using detail::descriptor;

/// For handlers after which a system call that they interrupted goes on: SA_RESTART.
/// ThreadSanitizer keeps a signal back until the call returns if it does not know that the call
/// waits, so that there each call has to end with EINTR.
#if defined(__SANITIZE_THREAD__)
inline constexpr int restarts_calls = 0;
#else
inline constexpr int restarts_calls = SA_RESTART;
#endif

/// Throws error{code} whose text is `what`, the system's words for `number`, and the limit that was
/// hit if it was one of descriptors.
[[noreturn]] void fail(errc code, const std::string& what, int number);

/// A connected pair of SOCK_SEQPACKET sockets: message boundaries are the kernel's, end of file is
/// the peer's death. Throws error{resource_exhausted}.
std::pair<descriptor, descriptor> socket_pair();

/// What one receive found.
enum class receive_status : std::uint8_t { message, empty, closed };

/// At most this many descriptors travel with one message.
inline constexpr std::size_t max_descriptors = 128;

struct received {
  receive_status status = receive_status::empty;
  std::size_t bytes = 0;
  std::vector<descriptor> descriptors;
  bool some_lost = false;  ///< this process had no free numbers for some of them
};

/// Receives one message into `buffer`; never blocks unless `block`. A reset peer counts as closed.
received receive(int socket, std::span<std::byte> buffer, bool block);

/// What one send did. `full`: the peer does not read at the moment; `closed`: it never will.
enum class send_status : std::uint8_t { sent, full, closed, failed };

/// Sends one message with descriptors; never raises SIGPIPE. errno tells why after `failed`.
send_status send(int socket, std::span<const std::byte> message, std::span<const int> descriptors,
                 bool block);

/// All of a file, as those in /proc and /sys are; nullopt if it cannot be opened. std::ifstream
/// would put it under the number of a standard stream that is closed.
std::optional<std::string> text_of(const std::string& path);

/// opendir(3), under a number of the library's own.
DIR* open_folder(const char* path) noexcept;

/// Blocks all signals in the calling thread while it lives, so that threads started meanwhile never
/// run a handler of the host program.
class blocked_signals {
 public:
  blocked_signals() noexcept;
  ~blocked_signals();
  blocked_signals(const blocked_signals&) = delete;
  blocked_signals& operator=(const blocked_signals&) = delete;

 private:
  alignas(8) unsigned char old_[128];
};

/// Threads of this process, by the kernel's count. 0: there is no descriptor left to ask it. 1
/// where there is no /proc, and a program cannot be executed anew either.
int thread_count() noexcept;

/// Direct children of this process, zombies included.
std::vector<pid_t> children_of(pid_t parent);

/// Whether `pid` is a child of this process that was not waited for: as long as that is so, its
/// number is its own. Threads of the program may wait for any child, and take ours.
bool is_own_child(pid_t pid) noexcept;

/// Sends a signal to the process group that the child `leader` leads or led; to none if its number
/// may be another process's by now.
void signal_group(pid_t leader, int signal) noexcept;

/// Nanoseconds of CLOCK_MONOTONIC.
std::int64_t monotonic_ns() noexcept;

}  // namespace troupe::sys
