// SPDX-License-Identifier: BSD-3-Clause
#include "channel/message_socket.hpp"

#include "os/sys.hpp"

#include <cerrno>

namespace troupe::detail {

std::pair<descriptor, descriptor> message_sockets() {
  return sys::socket_pair();
}

int send_message(int socket, std::span<const std::byte> message,
                 std::span<const int> descriptors) noexcept {
  const sys::send_status status = sys::send(socket, message, descriptors, false);
  if (status == sys::send_status::failed) {
    return errno;
  }
  return status == sys::send_status::full ? EAGAIN : 0;
}

std::optional<received_message> receive_message(int socket, std::span<std::byte> buffer) {
  sys::received got = sys::receive(socket, buffer, true);
  if (got.status != sys::receive_status::message) {
    return std::nullopt;
  }
  return received_message{got.bytes, std::move(got.descriptors), got.some_lost};
}

}  // namespace troupe::detail
