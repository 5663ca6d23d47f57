// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/socket_address.hpp"

#include "troupe/error.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace troupe::sys {
namespace {

[[noreturn]] void refuse(const std::string& text, const std::string& why) {
  throw std::invalid_argument{"troupe: '" + text.substr(0, 200) + "' is no address: " + why};
}

constexpr std::size_t path_room = sizeof(sockaddr_un::sun_path) - 1;

}  // namespace

socket_address parse_address(const std::string& text) {
  socket_address address;
  address.text = text;
  if (text.find('\0') != std::string::npos) {
    refuse(text, "it has a zero in it");
  }
  if (text.starts_with('@')) {
    address.kind = socket_address::family::abstract;
    if (text.size() == 1 || text.size() > path_room) {
      refuse(text, "an abstract name has 1 to " + std::to_string(path_room - 1) + " characters");
    }
    return address;
  }
  if (text.find('/') != std::string::npos) {
    if (text.size() > path_room) {
      refuse(text, "the path is too long: a socket's has at most " + std::to_string(path_room) +
                       " characters, and this " + std::to_string(text.size()));
    }
    return address;
  }
  address.kind = socket_address::family::tcp;
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) {
    refuse(text, "a path has a slash, an abstract name begins with @, and TCP is host:port");
  }
  address.host = text.substr(0, colon);
  address.port = text.substr(colon + 1);
  if (address.host.starts_with('[') && address.host.ends_with(']')) {
    address.host = address.host.substr(1, address.host.size() - 2);
  } else if (address.host.find(':') != std::string::npos) {
    refuse(text, "an IPv6 address is written in brackets");
  }
  const bool digits =
      !address.port.empty() && address.port.size() <= 5 &&
      std::ranges::all_of(address.port, [](char c) { return c >= '0' && c <= '9'; });
  if (address.host.empty() || !digits || std::stoul(address.port) > 65535) {
    refuse(text, "TCP is host:port, with a port from 0 to 65535");
  }
  return address;
}

bool raw_address::is_loopback() const noexcept {
  if (storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &storage, sizeof in);
    return (ntohl(in.sin_addr.s_addr) >> 24) == 127;
  }
  sockaddr_in6 in6{};
  std::memcpy(&in6, &storage, sizeof in6);
  return storage.ss_family == AF_INET6 &&
         std::memcmp(&in6.sin6_addr, &in6addr_loopback, sizeof in6addr_loopback) == 0;
}

std::vector<raw_address> look_up(const socket_address& address) {
  if (address.kind != socket_address::family::tcp) {
    raw_address one;
    sockaddr_un un{};
    un.sun_family = AF_UNIX;
    std::memcpy(un.sun_path, address.text.data(), address.text.size());
    one.bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.text.size() + 1);
    if (address.kind == socket_address::family::abstract) {
      un.sun_path[0] = '\0';
      one.bytes -= 1;  // an abstract name is as long as its size says; a zero does not end it
    }
    std::memcpy(&one.storage, &un, sizeof un);
    return {one};
  }
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int problem = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found);
  if (problem != 0) {
    throw error{errc::connect_failed, task_ran::no,
                "troupe: '" + address.text + "' cannot be looked up: " + ::gai_strerror(problem)};
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner{found, ::freeaddrinfo};
  std::vector<raw_address> all;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    raw_address raw;
    std::memcpy(&raw.storage, one->ai_addr, one->ai_addrlen);
    raw.bytes = one->ai_addrlen;
    all.push_back(raw);
  }
  return all;
}

std::string local_address(int socket) {
  raw_address bound;
  bound.bytes = sizeof bound.storage;
  std::array<char, INET6_ADDRSTRLEN> host{};
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&bound.storage), &bound.bytes) != 0) {
    return {};
  }
  if (bound.family() == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &bound.storage, sizeof in);
    ::inet_ntop(AF_INET, &in.sin_addr, host.data(), host.size());
    return std::string{host.data()} + ":" + std::to_string(ntohs(in.sin_port));
  }
  sockaddr_in6 in6{};
  std::memcpy(&in6, &bound.storage, sizeof in6);
  ::inet_ntop(AF_INET6, &in6.sin6_addr, host.data(), host.size());
  return "[" + std::string{host.data()} + "]:" + std::to_string(ntohs(in6.sin6_port));
}

}  // namespace troupe::sys
