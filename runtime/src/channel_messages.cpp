// SPDX-License-Identifier: BSD-3-Clause
#include "channel_messages.hpp"

#include "troupe/detail/descriptor_cargo.hpp"
#include "troupe/error.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string>

namespace troupe::detail {
namespace {

/// Mappings of others' segments kept for the next payload in the same segment.
constexpr std::size_t max_views = 16;

}  // namespace

sys::send_status send_bell(int socket) noexcept {
  return sys::send(socket, std::span{&bell_message, 1}, {}, false);
}

sys::send_status announce_segment(int socket, std::uint64_t id, const descriptor& reader,
                                  bool block) {
  segment_announcement message{};
  message.kind = segment_message;
  message.id = id;
  const int number = reader.number();
  return sys::send(socket, std::as_bytes(std::span{&message, 1}), std::span{&number, 1}, block);
}

sys::send_status announce_cargo(int socket, std::uint64_t number, const cargo_list& what,
                                bool block) {
  cargo_announcement message{};
  message.kind = cargo_message;
  message.count = static_cast<std::uint32_t>(std::min(what.size(), max_cargo));
  message.number = number;
  std::array<int, max_cargo> numbers{};
  for (std::size_t i = 0; i < message.count; ++i) {
    message.ids[i] = what[i]->id();
    numbers[i] = what[i]->number();
  }
  return sys::send(socket,
                   std::as_bytes(std::span{&message, 1}).first(announcement_bytes(message.count)),
                   std::span{numbers}.first(message.count), block);
}

bool keep_cargo(std::map<std::uint64_t, cargo_list>& kept, const std::byte* bytes,
                sys::received& message) {
  cargo_announcement announcement{};
  if (bytes[0] != cargo_message || message.bytes < announcement_bytes(0)) {
    return false;
  }
  std::memcpy(&announcement, bytes, std::min(message.bytes, sizeof announcement));
  // Fewer descriptors arrive when this process may have no more: what needs them fails to decode.
  if (announcement.count > max_cargo || message.bytes != announcement_bytes(announcement.count) ||
      message.descriptors.size() > announcement.count) {
    return false;
  }
  cargo_list& list = kept[announcement.number];
  list.clear();
  for (std::size_t i = 0; i < message.descriptors.size(); ++i) {
    list.push_back(std::make_shared<const descriptor_cargo>(announcement.ids[i],
                                                            std::move(message.descriptors[i])));
  }
  return true;
}

std::shared_ptr<const mapping> find_view(
    std::deque<std::pair<std::uint64_t, std::shared_ptr<const mapping>>>& views,
    std::deque<std::pair<std::uint64_t, descriptor>>& arrived, std::uint64_t id,
    std::uint64_t bytes) {
  // The newest descriptor wins: ids are never reused, so an older one names the same memory.
  descriptor fresh;
  for (auto it = arrived.begin(); it != arrived.end();) {
    if (it->first == id) {
      fresh = std::move(it->second);
      it = arrived.erase(it);
    } else {
      ++it;
    }
  }
  const auto known =
      std::find_if(views.begin(), views.end(), [id](const auto& view) { return view.first == id; });
  if (known != views.end() && known->second->size() >= bytes) {
    auto view = *known;
    views.erase(known);
    views.push_front(view);
    return view.second;
  }
  if (!fresh) {
    return nullptr;
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
