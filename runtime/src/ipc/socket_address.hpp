// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

namespace troupe::sys {

/// An address as listener.hpp describes it, looked at but not yet looked up.
struct socket_address {
  enum class family : std::uint8_t { path, abstract, tcp };
  family kind = family::path;
  std::string text;        ///< as it was given
  std::string host, port;  ///< of TCP
};

/// Throws std::invalid_argument with what is wrong.
socket_address parse_address(const std::string& text);

struct raw_address {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
  [[nodiscard]] const sockaddr* get() const noexcept {
    return reinterpret_cast<const sockaddr*>(&storage);
  }
  [[nodiscard]] int family() const noexcept { return storage.ss_family; }
  [[nodiscard]] bool is_loopback() const noexcept;
};

/// All that a host name stands for, in the resolver's order; one for a Unix address.
/// Throws error{connect_failed} if a name means nothing.
std::vector<raw_address> look_up(const socket_address& address);

/// "host:port" with numbers, of what a TCP socket is bound to.
std::string local_address(int socket);

}  // namespace troupe::sys
