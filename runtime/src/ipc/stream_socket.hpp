// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/connection.hpp"
#include "troupe/detail/descriptor.hpp"

#include <cstdint>
#include <memory>

// The sockets of listeners and of the processes that connect to them.
namespace troupe::detail {

class secure_stream;

/// Throws error{resource_exhausted}.
[[nodiscard]] descriptor new_socket(int family);

/// The process that is at the other end of a Unix socket, or was when it connected.
[[nodiscard]] bool is_same_user(int socket);

/// Of a Unix socket, or, with `secure`, over TCP.
[[nodiscard]] connection make_connection(descriptor socket, std::shared_ptr<secure_stream> secure,
                                         std::uint64_t max_message_bytes);

}  // namespace troupe::detail
