// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/peer_credentials.hpp"

#include "troupe/error.hpp"

#include "os/sys.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

namespace troupe::detail {
namespace {

/// 0: there is no /proc to ask.
std::uint64_t number_of_namespace(const char* path) noexcept {
  struct stat found{};
  return ::stat(path, &found) == 0 ? found.st_ino : 0;
}

/// With its length before it, so that two of them are read in one way only. `none` stands for a name
/// that cannot be had, which is no name's length and differs between the sides.
template <class GetName>
void append_name(std::string& to, int socket, GetName get_name, char none) {
  sockaddr_un name{};
  socklen_t bytes = sizeof name;
  if (get_name(socket, reinterpret_cast<sockaddr*>(&name), &bytes) != 0) {
    to += none;
    return;
  }
  constexpr socklen_t before = offsetof(sockaddr_un, sun_path);
  const std::size_t length = bytes > before ? bytes - before : 0;
  to += static_cast<char>(length);
  to.append(name.sun_path, length);
}

}  // namespace

process_credentials own_credentials() noexcept {
  process_credentials mine;
  mine.pid = static_cast<std::uint32_t>(::getpid());
  mine.uid = ::geteuid();
  mine.gid = ::getegid();
  mine.pid_namespace = number_of_namespace("/proc/self/ns/pid");
  mine.user_namespace = number_of_namespace("/proc/self/ns/user");
  return mine;
}

bool is_peer(int socket, const process_credentials& said) noexcept {
  ucred seen{};
  socklen_t bytes = sizeof seen;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &seen, &bytes) != 0) {
    return false;
  }
  const process_credentials mine = own_credentials();
  const auto can_compare = [](std::uint64_t one, std::uint64_t other) {
    return one != 0 && one == other;
  };
  if (can_compare(said.pid_namespace, mine.pid_namespace) &&
      static_cast<std::uint32_t>(seen.pid) != said.pid) {
    return false;
  }
  return !can_compare(said.user_namespace, mine.user_namespace) ||
         (seen.uid == said.uid && seen.gid == said.gid);
}

void give_unique_name(int socket) {
  // With the family alone the kernel takes an abstract name that is free.
  sockaddr_un any{};
  any.sun_family = AF_UNIX;
  if (::bind(socket, reinterpret_cast<const sockaddr*>(&any), sizeof any.sun_family) != 0) {
    sys::fail(errc::resource_exhausted, "troupe: a socket cannot have a name", errno);
  }
}

std::string socket_names(int socket, bool is_client) {
  const char none = is_client ? '\xFE' : '\xFF';
  std::string names;
  append_name(names, socket, is_client ? &::getsockname : &::getpeername, none);
  append_name(names, socket, is_client ? &::getpeername : &::getsockname, none);
  return names;
}

}  // namespace troupe::detail
