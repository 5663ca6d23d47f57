// SPDX-License-Identifier: BSD-3-Clause
#include "pools/workers/task_frame.hpp"

#include <cerrno>
#include <cstring>

namespace troupe::detail {
namespace {

/// The length at `part`, and the bytes that stand behind it.
std::uint32_t part_length(const std::byte* part, std::uint32_t& stored) {
  std::uint32_t length = 0;
  std::memcpy(&length, part, sizeof length);
  stored = length == in_segment ? static_cast<std::uint32_t>(sizeof(segment_reference)) : length;
  return length;
}

}  // namespace

task_frame::task_frame(process_submission& work, std::uint32_t first, std::uint32_t items,
                       std::uint32_t attempt)
    : work_{work}, first_{first}, items_{items}, attempt_{attempt} {
  const std::size_t head = sizeof(run_header) + work.callable_bytes;
  while (items_ > 1 && head + (place_of(first_ + items_) - place_of(first_)) > max_frame_bytes) {
    items_ = items_ / 2;
  }
}

std::uint32_t task_frame::place_of(std::uint32_t item) const {
  if (work_.count == 1) {
    return item == 0 ? work_.callable_bytes : work_.byte_count;
  }
  return work_.offset_of(item);
}

int task_frame::announce_segments(supervisor_channel& channel, std::uint64_t number,
                                  std::uint32_t begin, std::uint32_t end) const {
  const std::byte* const bytes = work_.bytes.get();
  for (const std::byte* part = bytes + begin; part < bytes + end;) {
    std::uint32_t stored = 0;
    if (part_length(part, stored) == in_segment) {
      segment_reference where;
      std::memcpy(&where, part + sizeof(std::uint32_t), sizeof where);
      for (const auto& segment : work_.segments()) {
        if (segment->id() != where.id) {
          continue;
        }
        const int code = channel.send_segment(segment->id(), segment->reader(), number);
        if (code != 0) {
          return code;
        }
        break;
      }
    }
    part += sizeof(std::uint32_t) + stored;
  }
  return 0;
}

task_frame::result task_frame::send(supervisor_channel& channel, std::uint64_t number) const {
  result sent{0, items_, true, false};
  const std::uint32_t begin = place_of(first_);
  std::uint32_t end = place_of(first_ + items_);
  const std::size_t head = sizeof(run_header) + work_.callable_bytes;
  std::byte* const room = channel.begin_frame(head + (end - begin));
  if (room == nullptr) {
    return {EAGAIN, 0, false, false};
  }
  if (!work_.segments().empty()) {
    sent.handed_over = true;
    sent.code = announce_segments(channel, number, 0, work_.callable_bytes);
    for (std::uint32_t i = 0; sent.code == 0 && i < sent.items; ++i) {
      const std::uint32_t from = place_of(first_ + i);
      sent.code = announce_segments(channel, number, from, place_of(first_ + i + 1));
      if (sent.code != 0 && i > 0) {
        sent.items = i;  // only those before it are sent
        end = from;
        sent.code = 0;
      }
    }
  }
  // Last, as the receiver takes attachments of a frame that was not sent for those of the next one,
  // which has the same number. Segments have ids of their own.
  if (sent.code == 0 && !work_.attachments().empty()) {
    sent.code = channel.send_attachments(number, work_.attachments());
    sent.handed_over = true;
  }
  if (sent.code != 0) {
    return sent;
  }
  const run_header header{work_.number, sent.items, attempt_};
  std::memcpy(room, &header, sizeof header);
  std::memcpy(room + sizeof header, work_.bytes.get(), work_.callable_bytes);
  std::memcpy(room + head, work_.bytes.get() + begin, end - begin);
  const auto flags =
      static_cast<std::uint16_t>((work_.options().timeout ? announce_begin : 0) |
                                 (work_.attachments().empty() ? 0 : has_attachments));
  channel.publish(
      {static_cast<std::uint32_t>(head + (end - begin)), frame_kind::tasks, flags, number});
  return sent;
}

}  // namespace troupe::detail
