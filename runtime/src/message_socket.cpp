// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/message_socket.hpp"

#include "sys.hpp"

namespace troupe::detail {

std::pair<descriptor, descriptor> message_sockets() {
  return sys::socket_pair();
}

bool send_message(int socket, std::span<const std::byte> message,
                  std::span<const int> descriptors) noexcept {
  return sys::send(socket, message, descriptors, false) != sys::send_status::full;
}

std::optional<received_message> receive_message(int socket, std::span<std::byte> buffer) {
  sys::received got = sys::receive(socket, buffer, true);
  if (got.status != sys::receive_status::message) {
    return std::nullopt;
  }
  return received_message{got.bytes, std::move(got.descriptors)};
}

}  // namespace troupe::detail
