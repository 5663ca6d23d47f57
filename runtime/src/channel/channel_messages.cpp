// SPDX-License-Identifier: BSD-3-Clause
#include "channel/channel_messages.hpp"

#include "troupe/error.hpp"

#include "os/descriptor_attachment.hpp"
#include "os/shortage.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <string>
#include <utility>

namespace troupe::detail {
namespace {

/// Mappings of the other process's segments that are kept for later payloads in them.
constexpr std::size_t max_views = 16;

}  // namespace

sys::send_status send_bell(int socket) noexcept {
  return sys::send(socket, std::span{&bell_message, 1}, {}, false);
}

namespace {

int code_of(sys::send_status status) noexcept {
  switch (status) {
    case sys::send_status::sent:
      return 0;
    case sys::send_status::full:
      return EAGAIN;
    case sys::send_status::closed:
      return EPIPE;
    case sys::send_status::failed:
      break;
  }
  return errno;
}

[[noreturn]] void fail_lost(const char* what) {
  throw shortage(std::string{"troupe: "} + what + " came without a descriptor", EMFILE);
}

}  // namespace

int announce_segment(int socket, std::uint64_t id, const descriptor& reader, std::uint64_t number,
                     bool block) noexcept {
  segment_announcement message{};
  message.kind = segment_message;
  message.id = id;
  message.number = number;
  const int passed = reader.number();
  return code_of(
      sys::send(socket, std::as_bytes(std::span{&message, 1}), std::span{&passed, 1}, block));
}

int announce_attachments(int socket, std::uint64_t number, const attachment_list& what,
                         bool block) noexcept {
  attachments_announcement message{};
  message.kind = attachments_message;
  message.count = static_cast<std::uint32_t>(std::min(what.size(), max_attachments));
  message.number = number;
  std::array<int, max_attachments> numbers{};
  for (std::size_t i = 0; i < message.count; ++i) {
    message.ids[i] = what[i]->id();
    numbers[i] = what[i]->number();
  }
  return code_of(sys::send(
      socket, std::as_bytes(std::span{&message, 1}).first(announcement_bytes(message.count)),
      std::span{numbers}.first(message.count), block));
}

bool keep_arrival(std::map<std::uint64_t, frame_arrivals>& kept, const std::byte* bytes,
                  sys::received& message) {
  if (bytes[0] == segment_message && message.bytes == sizeof(segment_announcement)) {
    segment_announcement announcement{};
    std::memcpy(&announcement, bytes, sizeof announcement);
    if (message.descriptors.size() != (message.some_lost ? 0 : 1)) {
      return false;
    }
    frame_arrivals& came = kept[announcement.number];
    ++came.messages;
    came.segments.emplace_back(
        announcement.id, message.some_lost ? descriptor{} : std::move(message.descriptors.front()));
    return true;
  }
  if (bytes[0] != attachments_message || message.bytes < announcement_bytes(0)) {
    return false;
  }
  attachments_announcement announcement{};
  std::memcpy(&announcement, bytes, std::min(message.bytes, sizeof announcement));
  if (announcement.count > max_attachments ||
      message.bytes != announcement_bytes(announcement.count) ||
      (message.some_lost ? message.descriptors.size() >= announcement.count
                         : message.descriptors.size() != announcement.count)) {
    return false;
  }
  frame_arrivals& came = kept[announcement.number];
  ++came.messages;
  came.has_attachments = true;
  came.attachments_lost = message.some_lost;
  came.attachments.clear();
  if (message.some_lost) {
    return true;  // the descriptors that came are of no use without the lost ones
  }
  for (std::size_t i = 0; i < message.descriptors.size(); ++i) {
    came.attachments.push_back(std::make_shared<const descriptor_attachment>(
        announcement.ids[i], std::move(message.descriptors[i])));
  }
  return true;
}

attachment_list take_arrived_attachments(frame_arrivals& came) {
  came.has_attachments = false;
  if (came.attachments_lost) {
    fail_lost("a shared object");
  }
  return std::move(came.attachments);
}

std::shared_ptr<const mapping> find_view(segment_views& views, frame_arrivals& came,
                                         std::uint64_t id, std::uint64_t bytes) {
  descriptor fresh;
  bool announced = false;
  std::erase_if(came.segments, [&](auto& one) {
    if (one.first != id) {
      return false;
    }
    announced = true;
    if (one.second) {
      fresh = std::move(one.second);
    }
    return true;
  });
  const auto known =
      std::find_if(views.begin(), views.end(), [id](const auto& view) { return view.first == id; });
  if (known != views.end() && known->second->size() >= bytes) {
    auto view = *known;
    views.erase(known);
    views.push_front(view);
    return view.second;
  }
  if (!announced) {
    return nullptr;
  }
  if (!fresh) {
    fail_lost("a large payload");
  }
  // All of it is mapped, so that the next payload in this segment finds the mapping here.
  struct stat info{};
  const std::size_t whole = ::fstat(fresh.number(), &info) == 0 && info.st_size > 0
                                ? static_cast<std::size_t>(info.st_size)
                                : 0;
  if (whole < bytes) {
    throw error{errc::protocol_error, task_ran::maybe,
                "a payload of " + std::to_string(bytes) + " bytes in a segment of " +
                    std::to_string(whole)};
  }
  auto view = std::make_shared<const mapping>(map_foreign(fresh, whole));
  views.emplace_front(id, view);
  if (views.size() > max_views) {
    views.pop_back();
  }
  return view;
}

}  // namespace troupe::detail
