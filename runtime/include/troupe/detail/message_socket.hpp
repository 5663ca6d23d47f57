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
/// Throws error{resource_exhausted}.
std::pair<descriptor, descriptor> message_sockets();

/// False: the peer does not read at the moment. If it is gone, the message is dropped.
bool send_message(int socket, std::span<const std::byte> message,
                  std::span<const int> descriptors) noexcept;

struct received_message {
  std::size_t bytes = 0;
  std::vector<descriptor> descriptors;
};

/// Waits for one; nothing: the peer is gone.
std::optional<received_message> receive_message(int socket, std::span<std::byte> buffer);

}  // namespace troupe::detail
