// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/descriptor.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace troupe::detail {

/// A connected pair of sockets that keep messages apart and pass descriptors on.
///
/// @throws error{resource_exhausted}.
std::pair<descriptor, descriptor> message_sockets();

/// 0: sent, or dropped because the peer is gone. EAGAIN: the peer does not read at the moment.
/// Another errno: it cannot be sent, with these descriptors at least.
int send_message(int socket, std::span<const std::byte> message,
                 std::span<const int> descriptors) noexcept;

struct received_message {
  std::size_t bytes = 0;
  std::vector<descriptor> descriptors;
  bool some_lost = false;  ///< this process had no free numbers for some of them
};

/// Waits for a message. Nothing: the peer is gone.
///
/// @blocks until there is one.
std::optional<received_message> receive_message(int socket, std::span<std::byte> buffer);

}  // namespace troupe::detail
