// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/objects.hpp"

#include "shared/queue/queue_socket.hpp"
#include "shared/queue/queue_state.hpp"
#include "shared/queue/queue_storage.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

// How items stand in the storage of a queue.
namespace troupe::detail {

inline constexpr std::uint64_t record_alignment = 16;
/// No machine has more memory than that.
inline constexpr std::uint64_t most_storage = std::uint64_t{1} << 47;
/// An empty queue gives memory back beyond this.
inline constexpr std::uint64_t area_to_keep = std::uint64_t{64} << 20;

/// Before each item's bytes in the storage, which the ids of its shared objects follow. A
/// lifo_queue's has its own size behind it too.
class item_record {
 public:
  item_record() = default;
  item_record(std::uint64_t bytes, std::uint64_t descriptors, std::uint64_t ticket) noexcept
      : sizes_{descriptors << 48U | bytes}, ticket_{ticket} {}
  [[nodiscard]] std::uint64_t bytes() const noexcept {
    return sizes_ & ((std::uint64_t{1} << 48U) - 1);
  }
  [[nodiscard]] std::uint64_t descriptors() const noexcept { return sizes_ >> 48U; }
  [[nodiscard]] std::uint64_t ticket() const noexcept { return ticket_; }
  // Word by word, as they were made: a processor waits when it reads them at once.
  void write_to(std::byte* at) const noexcept {
    std::memcpy(at, &sizes_, sizeof sizes_);
    std::memcpy(at + sizeof sizes_, &ticket_, sizeof ticket_);
  }
  [[nodiscard]] static item_record read_from(const std::byte* at) noexcept {
    item_record found;
    std::memcpy(&found.sizes_, at, sizeof found.sizes_);
    std::memcpy(&found.ticket_, at + sizeof found.sizes_, sizeof found.ticket_);
    return found;
  }

 private:
  std::uint64_t sizes_ = 0;
  std::uint64_t ticket_ = 0;
};
static_assert(sizeof(item_record) == record_alignment);
/// None is smaller, so that more items than there can be are noticed.
inline constexpr std::uint64_t least_record = 2 * record_alignment;

constexpr std::uint64_t rounded_to_records(std::uint64_t bytes) {
  return (bytes + record_alignment - 1) / record_alignment * record_alignment;
}

/// How much of the storage an item takes.
constexpr std::uint64_t record_bytes(object_kind kind, std::uint64_t payload) {
  return sizeof(item_record) + std::max(rounded_to_records(payload), record_alignment) +
         (kind == object_kind::lifo_queue ? record_alignment : 0);
}
inline std::uint64_t record_bytes(object_kind kind, const item_record& of) {
  return record_bytes(kind, of.bytes() + of.descriptors() * sizeof(std::uint64_t));
}

/// The part of the storage that is used: words of an index, then records.
struct record_area {
  std::uint64_t at, bytes, index_room;

  [[nodiscard]] static record_area of(const queue_state& state) {
    return {state.area.load(std::memory_order_relaxed),
            state.area_bytes.load(std::memory_order_relaxed),
            state.index_room.load(std::memory_order_relaxed)};
  }
  /// False: the memory was damaged.
  [[nodiscard]] bool is_possible() const {
    return at % record_alignment == 0 && at <= most_storage && bytes <= most_storage &&
           index_room <= bytes / sizeof(std::uint64_t);
  }
  /// Where the records begin, and how many bytes of them there is room for.
  [[nodiscard]] std::uint64_t records_at() const { return at + index_room * sizeof(std::uint64_t); }
  [[nodiscard]] std::uint64_t records_room() const {
    return bytes - index_room * sizeof(std::uint64_t);
  }
};

// Positions count from where the records begin, and wrap.
inline void copy_in(queue_storage& storage, const record_area& to, std::uint64_t position,
                    const void* from, std::uint64_t bytes) {
  const std::uint64_t room = to.records_room();
  check_intact(room != 0 && bytes <= room);
  const std::uint64_t at = position % room;
  const std::uint64_t first = std::min(bytes, room - at);
  std::byte* const begin = storage.at(to.records_at(), room);
  if (first != 0) {
    std::memcpy(begin + at, from, first);
  }
  if (bytes > first) {
    std::memcpy(begin, static_cast<const std::byte*>(from) + first, bytes - first);
  }
}

inline void copy_out(queue_storage& storage, const record_area& from, std::uint64_t position,
                     void* to, std::uint64_t bytes) {
  const std::uint64_t room = from.records_room();
  check_intact(room != 0 && bytes <= room);
  const std::uint64_t at = position % room;
  const std::uint64_t first = std::min(bytes, room - at);
  const std::byte* const begin = storage.at(from.records_at(), room);
  if (first != 0) {
    std::memcpy(to, begin + at, first);
  }
  if (bytes > first) {
    std::memcpy(static_cast<std::byte*>(to) + first, begin, bytes - first);
  }
}

[[nodiscard]] inline item_record read_record(queue_storage& storage, const record_area& in,
                                             object_kind kind, std::uint64_t position) {
  item_record found;
  copy_out(storage, in, position, &found, sizeof found);
  check_intact(found.bytes() <= in.records_room() &&
               found.descriptors() <= queue_socket::most_descriptors &&
               record_bytes(kind, found) <= in.records_room());
  return found;
}

}  // namespace troupe::detail
