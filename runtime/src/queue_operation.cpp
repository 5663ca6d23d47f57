// SPDX-License-Identifier: BSD-3-Clause

// Items in a queue's storage: how they are written, read, and moved when there is no room for them.

#include "queue_operation.hpp"

#include "troupe/detail/monitor_step.hpp"
#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

constexpr std::uint64_t least_area = std::uint64_t{1} << 14;
/// An empty queue gives memory back beyond this.
constexpr std::uint64_t area_to_keep = std::uint64_t{64} << 20;
/// Nobody has more memory than that.
constexpr std::uint64_t most_storage = std::uint64_t{1} << 47;

}  // namespace

void fail_damaged_queue() {
  throw error{errc::protocol_error, task_ran::maybe,
              "the memory of a queue was damaged: what it says of its items cannot be"};
}

void queue_operation::copy_in(const span_of_area& to, std::uint64_t position, const void* from,
                              std::uint64_t bytes) {
  const std::uint64_t room = records_room(to);
  check_intact(room != 0 && bytes <= room);
  const std::uint64_t at = position % room;
  const std::uint64_t first = std::min(bytes, room - at);
  std::byte* const begin = storage_.at(records_at(to), room);
  if (first != 0) {
    std::memcpy(begin + at, from, first);
  }
  if (bytes > first) {
    std::memcpy(begin, static_cast<const std::byte*>(from) + first, bytes - first);
  }
}

void queue_operation::copy_out(const span_of_area& from, std::uint64_t position, void* to,
                               std::uint64_t bytes) {
  const std::uint64_t room = records_room(from);
  check_intact(room != 0 && bytes <= room);
  const std::uint64_t at = position % room;
  const std::uint64_t first = std::min(bytes, room - at);
  const std::byte* const begin = storage_.at(records_at(from), room);
  if (first != 0) {
    std::memcpy(to, begin + at, first);
  }
  if (bytes > first) {
    std::memcpy(static_cast<std::byte*>(to) + first, begin, bytes - first);
  }
}

std::uint64_t queue_operation::live_bytes() const {
  switch (kind_) {
    case object_kind::queue:
      return get(state.tail) - get(state.head);
    case object_kind::lifo_queue:
      return get(state.tail);
    default:
      return get(state.head);
  }
}

void queue_operation::check_state() const {
  const span_of_area now = area();
  const std::uint64_t count = get(state.count);
  const std::uint64_t capacity = get(state.capacity);
  const std::uint64_t live = live_bytes();
  check_intact(now.at % record_alignment == 0 && now.at <= most_storage &&
               now.bytes <= most_storage && now.index_room <= now.bytes / sizeof(std::uint64_t));
  check_intact((kind_ != object_kind::queue || get(state.head) <= get(state.tail)) &&
               live <= records_room(now) && count <= live / sizeof(item_record) &&
               (count != 0 || live == 0));
  check_intact(
      kind_ != object_kind::priority_queue ||
      (count <= now.index_room && live <= get(state.tail) && get(state.tail) <= records_room(now)));
  check_intact((capacity == 0 || count <= capacity) && count <= get(state.unfinished));
}

void queue_operation::make_room(std::uint64_t bytes) {
  const span_of_area now = area();
  const std::uint64_t used =
      kind_ == object_kind::queue ? get(state.tail) - get(state.head) : get(state.tail);
  const bool index_fits = kind_ != object_kind::priority_queue || get(state.count) < now.index_room;
  if (now.bytes != 0) {
    check_intact(now.index_room <= now.bytes / sizeof(std::uint64_t) && used <= records_room(now));
    if (index_fits && bytes <= records_room(now) - used) {
      return;
    }
  }
  const std::uint64_t live = live_bytes();
  const std::uint64_t index_room = kind_ != object_kind::priority_queue ? 0
                                   : index_fits                         ? now.index_room
                                                : std::max<std::uint64_t>(512, 2 * now.index_room);
  // Areas are powers of two, so moving everything is rare. A heap's records have gaps between them,
  // which are worth moving for only if they are half of the area.
  move_to(kind_ == object_kind::priority_queue ? 2 * live + bytes : live + bytes, index_room);
}

void queue_operation::move_to(std::uint64_t least_records, std::uint64_t index_room) {
  const span_of_area old = area();
  const std::uint64_t index_bytes = index_room * sizeof(std::uint64_t);
  span_of_area made{0, 0, index_room};
  check_intact(least_records < std::uint64_t{1} << 46 && index_room < std::uint64_t{1} << 40);
  made.bytes =
      std::max(least_area, std::bit_ceil(least_records)) + (index_bytes + 4095) / 4096 * 4096;
  made.at = made.bytes <= old.at ? 0 : old.at + old.bytes;
  storage_.provide(made.at, made.bytes);
  const std::uint64_t count = get(state.count);
  std::uint64_t head = 0;
  std::uint64_t tail = 0;
  // Into memory where nothing is, so that a death on the way changes nothing.
  if (kind_ == object_kind::priority_queue) {
    check_intact(count <= made.index_room);
    std::vector<std::byte> moved;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t position = heap_word(i).load(std::memory_order_relaxed);
      const std::uint64_t bytes = record_bytes(read_record(old, position).bytes);
      check_intact(bytes <= least_records - tail);  // or several positions mean the same record
      moved.resize(bytes);
      copy_out(old, position, moved.data(), bytes);
      copy_in(made, tail, moved.data(), bytes);
      std::memcpy(storage_.at(made.at, made.bytes) + i * sizeof tail, &tail, sizeof tail);
      tail += bytes;
    }
    head = tail;
  } else {
    const std::uint64_t begin = kind_ == object_kind::queue ? get(state.head) : 0;
    const std::uint64_t bytes = get(state.tail) - begin;
    if (bytes != 0) {
      const std::uint64_t room = records_room(old);
      check_intact(room != 0 && bytes <= room && bytes <= made.bytes);
      const std::uint64_t first = std::min(bytes, room - begin % room);
      // Both ends at once, as mapping more moves what is mapped.
      static_cast<void>(storage_.at(made.at, made.bytes));
      const std::byte* const from = storage_.at(old.at, old.bytes);
      std::byte* const to = storage_.at(made.at, made.bytes);
      std::memcpy(to, from + begin % room, first);
      std::memcpy(to + first, from, bytes - first);
    }
    tail = bytes;
  }
  crash_step();
  tx.set(state.area, made.at);
  tx.set(state.area_bytes, made.bytes);
  tx.set(state.index_room, made.index_room);
  tx.set(state.head, head);
  tx.set(state.tail, tail);
  tx.set(state.version, get(state.version) + 1);
  tx.commit();
  storage_.release(old.at, old.bytes);
  crash_step();
}

void queue_operation::store(const queue_item& item) {
  const std::uint64_t payload = item.bytes.size();
  const std::uint64_t bytes = record_bytes(payload);
  if (item.cargo.size() > queue_socket::most_descriptors ||
      (!item.cargo.empty() && kind_ == object_kind::priority_queue)) {
    throw error{errc::argument_encode_failed, task_ran::no,
                kind_ == object_kind::priority_queue
                    ? "troupe: an item of a priority_queue cannot have handles of shared objects "
                      "in it, as it is compared in any process"
                    : "troupe: an item of a queue can have at most 253 handles of shared objects "
                      "in it"};
  }
  make_room(bytes);
  const span_of_area now = area();
  const std::uint64_t ticket = get(state.next_ticket);
  if (!item.cargo.empty()) {
    // Spent even if this fails: what was sent with it is then of no item.
    tx.set(state.next_ticket, ticket + 1);
    tx.commit();
    socket_.send(ticket, item.cargo);
    crash_step();
  } else {
    tx.set(state.next_ticket, ticket + 1);
  }
  const std::uint64_t at = get(state.tail);
  const item_record header{payload, ticket, item.cargo.size(), 0};
  copy_in(now, at, &header, sizeof header);
  copy_in(now, at + sizeof header, item.bytes.data(), payload);
  if (kind_ == object_kind::lifo_queue) {
    copy_in(now, at + bytes - record_alignment, &bytes, sizeof bytes);
  }
  crash_step();
  const std::uint64_t count = get(state.count);
  if (kind_ == object_kind::priority_queue) {
    begin_journal();
    sift_up(count, at);
    tx.set(state.head, get(state.head) + bytes);
    tx.set(state.version, get(state.version) + 1);
  }
  tx.set(state.tail, at + bytes);
  tx.set(state.count, count + 1);
  tx.set(state.unfinished, get(state.unfinished) + 1);
  tx.commit();
  tx.wake(has_items);
}

bool queue_operation::is_gone(std::uint64_t ticket) {
  const span_of_area now = area();
  if (get(state.count) == 0 || now.bytes == 0) {
    return true;
  }
  if (kind_ == object_kind::queue) {
    return ticket < read_record(now, get(state.head)).ticket || ticket >= get(state.next_ticket);
  }
  // Tickets only grow from the bottom of the stack to its top.
  for (std::uint64_t end = get(state.tail); end != 0;) {
    end = last_record(now, end);
    const std::uint64_t found = read_record(now, end).ticket;
    if (found <= ticket) {
      return found != ticket;
    }
  }
  return true;
}

bool queue_operation::take(queue_item& to) {
  const span_of_area now = area();
  const std::uint64_t count = get(state.count);
  check_intact(now.bytes != 0 && now.index_room <= now.bytes / sizeof(std::uint64_t));
  const std::uint64_t at = kind_ == object_kind::queue ? get(state.head)
                           : kind_ == object_kind::lifo_queue
                               ? last_record(now, get(state.tail))
                               : heap_word(0).load(std::memory_order_relaxed);
  const item_record header = read_record(now, at);
  const std::uint64_t bytes = record_bytes(header.bytes);
  std::byte* const room = to.bytes.extend(header.bytes);
  copy_out(now, at + sizeof header, room, header.bytes);
  bool lost = false;
  if (header.descriptors != 0) {
    auto came = socket_.peek(header.ticket, [this](std::uint64_t t) { return is_gone(t); });
    lost = !came;
    if (came) {
      to.cargo = std::move(*came);
    }
  }

  if (kind_ == object_kind::queue) {
    check_intact(get(state.tail) - at >= bytes && (count > 1 || at + bytes == get(state.tail)));
    if (count > 1) {
      tx.set(state.head, at + bytes);
    } else {
      // From the beginning again, in memory that is still in the caches.
      tx.set(state.head, 0);
      tx.set(state.tail, 0);
    }
  } else if (kind_ == object_kind::lifo_queue) {
    tx.set(state.tail, at);
  } else {
    begin_journal();
    sift_down(count - 1, heap_word(count - 1).load(std::memory_order_relaxed));
    tx.set(state.head, count == 1 ? 0 : get(state.head) - bytes);
    if (count == 1) {
      tx.set(state.tail, 0);
    }
    tx.set(state.version, get(state.version) + 1);
  }
  tx.set(state.count, count - 1);
  if (lost) {
    tx.set(state.unfinished, get(state.unfinished) - 1);
    tx.wake(all_done);
  } else {
    tx.add(tx.own().counters[taken_and_not_done], 1);
  }
  tx.commit();
  if (get(state.capacity) != 0) {
    tx.wake(has_room);
  }
  if (header.descriptors != 0 && !lost) {
    socket_.drop();
    crash_step();
  }
  if (lost) {
    log(log_level::warning,
        "troupe: an item of a queue was lost: a process that moved its handles "
        "died");
    to = queue_item{};
  }
  return !lost;
}

void queue_operation::give_memory_back() noexcept {
  if (get(state.count) == 0 && get(state.area_bytes) > area_to_keep) {
    try {
      move_to(0, get(state.index_room) == 0 ? 0 : 512);
    } catch (...) {  // NOLINT(bugprone-empty-catch): then it keeps what it has
    }
  }
}

}  // namespace troupe::detail
