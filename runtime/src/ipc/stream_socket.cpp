// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/stream_socket.hpp"

#include "ipc/connection_core.hpp"
#include "os/sys.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace troupe::detail {

bool is_same_user(int socket) {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 &&
         peer.uid == ::geteuid();
}

connection make_connection(descriptor socket, std::shared_ptr<secure_stream> secure,
                           std::uint64_t max_message_bytes) {
  if (secure != nullptr) {
    const int on = 1;  // a message is sent as one piece, and should go at once
    ::setsockopt(socket.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  connection_traits traits;
  traits.local = secure == nullptr;
  traits.max_message_bytes = max_message_bytes;
  return connection_access::make(std::move(socket), traits, std::move(secure));
}

descriptor new_socket(int family) {
  descriptor made{::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!made) {
    sys::fail(errc::resource_exhausted, "troupe: no socket can be made", errno);
  }
  return made;
}

}  // namespace troupe::detail
