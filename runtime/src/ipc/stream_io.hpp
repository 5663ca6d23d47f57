// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Whole runs of bytes through stream sockets, whatever signals, short counts and O_NONBLOCK do.

#include "troupe/detail/descriptor.hpp"
#include "troupe/detail/futex.hpp"

#include <poll.h>

#include <cstddef>
#include <span>
#include <vector>

namespace troupe::sys {

/// SCM_MAX_FD: the kernel takes no more with one message.
inline constexpr std::size_t max_rights = 253;

/// How a run of bytes went: `error` is an errno or 0, `bytes` what has crossed. Without an error,
/// fewer bytes than asked for mean the end of the stream.
struct io_result {
  int error = 0;
  std::size_t bytes = 0;
};

/// Sends `first` and then `second`, with descriptors (at most `max_rights`) at their first byte.
io_result send_all(int socket, std::span<const std::byte> first, std::span<const std::byte> second,
                   std::span<const int> descriptors) noexcept;

/// Receives exactly as much as fits. Descriptors on the way are dropped by the kernel.
io_result receive_all(int socket, std::span<std::byte> to) noexcept;

struct arrived_descriptors {
  std::vector<detail::descriptor> all;
  bool some_lost = false;  ///< this process had no more numbers for them
};

/// The same, and collects the descriptors.
io_result receive_all(int socket, std::span<std::byte> to, arrived_descriptors& descriptors);

/// ppoll(2) until a moment of the steady clock; signals have no effect. Returns how many are ready,
/// or a negative errno.
int poll_until(std::span<pollfd> set, const detail::deadline& until) noexcept;

}  // namespace troupe::sys
