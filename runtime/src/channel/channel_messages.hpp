// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/detail/descriptor.hpp"
#include "troupe/detail/memory.hpp"

#include "channel/channel.hpp"
#include "os/sys.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <utility>

// The messages on a channel's socket, which both ends send and read.
namespace troupe::detail {

inline constexpr std::byte bell_message{'!'};
inline constexpr std::byte segment_message{'S'};
inline constexpr std::byte attachments_message{'C'};
inline constexpr std::byte hello_message{'H'};
inline constexpr std::byte sigterm_message{'T'};
inline constexpr std::size_t max_hello_bytes = 256;

struct segment_announcement {
  std::byte kind{};
  std::array<std::byte, 7> padding{};
  std::uint64_t id = 0;
  std::uint64_t number = 0;  ///< of the frame that refers to it
};

/// Shared objects: their ids, in the order of the descriptors.
struct attachments_announcement {
  std::byte kind{};
  std::array<std::byte, 3> padding{};
  std::uint32_t count = 0;
  std::uint64_t number = 0;
  std::array<std::uint64_t, max_attachments> ids{};  // `count` of them are sent
};

/// A SIGTERM that a worker did not obey.
struct sigterm_notice {
  std::byte kind{};
  std::array<std::byte, 7> padding{};
  std::int64_t sender = 0;  ///< a pid; 0: of a process that cannot be seen from here
};

constexpr std::size_t announcement_bytes(std::size_t count) {
  return offsetof(attachments_announcement, ids) + count * sizeof(std::uint64_t);
}

sys::send_status send_bell(int socket) noexcept;

// Both return 0 once the message is sent, EPIPE if the other process has ended, EAGAIN if it does
// not read at the moment, and another errno if the message cannot be sent.
int announce_segment(int socket, std::uint64_t id, const descriptor& reader, std::uint64_t number,
                     bool block) noexcept;
int announce_attachments(int socket, std::uint64_t number, const attachment_list& what,
                         bool block) noexcept;

/// Stores what arrived under the number of its frame. False: it is no such message. If this process
/// had no free descriptor for something, it is noted as lost.
bool keep_arrival(std::map<std::uint64_t, frame_arrivals>& kept, const std::byte* bytes,
                  sys::received& message);

using segment_views = std::deque<std::pair<std::uint64_t, std::shared_ptr<const mapping>>>;

/// The mapping of segment `id` among those kept, or one made from the descriptor that came for this
/// frame; nothing if none came. Throws error{resource_exhausted} if it was lost.
std::shared_ptr<const mapping> find_view(segment_views& views, frame_arrivals& came,
                                         std::uint64_t id, std::uint64_t bytes);

/// The shared objects that came. Throws error{resource_exhausted} if a descriptor was lost.
attachment_list take_arrived_attachments(frame_arrivals& came);

}  // namespace troupe::detail
