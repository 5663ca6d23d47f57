// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>

// What the kernel says of the two ends of a Unix socket. Both sides of a handshake put it into their
// proofs: with a process in between that passes on what it is sent, they would see different ends.
namespace troupe::detail {

/// A process as it says of itself. The numbers of its namespaces tell who can compare the others.
struct process_credentials {
  std::uint32_t pid = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t zeros = 0;
  std::uint64_t pid_namespace = 0;
  std::uint64_t user_namespace = 0;
};
static_assert(sizeof(process_credentials) == 32);

/// Of this process, at this moment. The kernel keeps those of the moment of listen and connect.
[[nodiscard]] process_credentials own_credentials() noexcept;

/// Is that the process at the other end of this socket? What lies in another namespace than this
/// process cannot be compared, and is believed.
[[nodiscard]] bool is_peer(int socket, const process_credentials& said) noexcept;

/// Gives a Unix socket a name that no other one has meanwhile, for the sake of socket_names.
///
/// @throws error{resource_exhausted}.
void give_unique_name(int socket);

/// The names of both ends, the client's first: the same at both, and other ones where the sockets are
/// not connected to each other. `is_client` says which end this is.
[[nodiscard]] std::string socket_names(int socket, bool is_client);

}  // namespace troupe::detail
