// SPDX-License-Identifier: BSD-3-Clause

// Items in a queue's storage: how they are written, read, and moved when there is no room for them.

#include "shared/queue/queue_operation.hpp"

#include "troupe/error.hpp"
#include "troupe/log.hpp"

#include "shared/core/crash_step.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

constexpr std::uint64_t least_area = std::uint64_t{1} << 14;

}  // namespace

void fail_damaged_queue() {
  throw error{errc::protocol_error, task_ran::maybe,
              "the memory of a queue was damaged: what it says of its items cannot be"};
}

void queue_operation::begin() {
  undo_heap();
  if (kind_ == object_kind::queue) {
    finish_put(state);
    if (readers_) {
      readers_->lock();
    } else {
      readers_.emplace(tx.object(), tx.own());
    }
    state.both_sides.store(1, std::memory_order_release);
    crash_step();
  }
  try {
    check_state();
    finish_counting();
  } catch (...) {
    tx.abandon();
    leave_readers();
    throw;
  }
}

void queue_operation::leave_readers() noexcept {
  if (readers_ && readers_->is_locked()) {
    state.both_sides.store(0, std::memory_order_release);
    crash_step();
    readers_->unlock();
  }
}

bool queue_operation::wait(std::size_t channel, const deadline& until) {
  if (!readers_) {
    if (!tx.wait(channel, until)) {
      return false;
    }
  } else {
    // Before it is looked a last time, see wake_awaited.
    state.awaited[channel].store(1);
    crash_step();
    leave_readers();
    const auto still_needed = [&] {
      switch (channel) {
        case has_room:
          return get(state.put) - state.taken.load() >= get(state.capacity);
        case all_done:
          return state.done.load() != get(state.put);
        default:
          return true;  // items are put with the lock that this thread has
      }
    };
    if (!tx.wait_if(still_needed, channel, until)) {
      return false;
    }
  }
  begin();  // also of a process that died meanwhile
  return true;
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
  const record_area now = area();
  const std::uint64_t count = this->count();
  const std::uint64_t capacity = get(state.capacity);
  const std::uint64_t live = live_bytes();
  check_intact(now.is_possible());
  check_intact((kind_ != object_kind::queue || get(state.head) <= get(state.tail)) &&
               live <= now.records_room() && count <= live / least_record &&
               (count != 0 || live == 0));
  check_intact(kind_ != object_kind::priority_queue ||
               (count <= now.index_room && live <= get(state.tail) &&
                get(state.tail) <= now.records_room()));
  check_intact((capacity == 0 || count <= capacity) && count <= unfinished());
}

void queue_operation::begin_anew() {
  tx.set(state.head, 0);
  tx.set(state.tail, 0);
  tx.set(state.seen_head, 0);
  tx.set(state.seen_tail, 0);
}

void queue_operation::make_room(std::uint64_t bytes, std::uint64_t objects) {
  const record_area now = area();
  const std::uint64_t used =
      kind_ == object_kind::queue ? get(state.tail) - get(state.head) : get(state.tail);
  // A table of objects is at most half full.
  check_intact(get(state.objects) <= most_storage);
  const bool is_heap = kind_ == object_kind::priority_queue;
  const bool index_fits = is_heap        ? count() < now.index_room
                          : objects == 0 ? true
                                         : 2 * (get(state.objects) + objects) <= table_slots();
  if (now.bytes != 0) {
    check_intact(now.index_room <= now.bytes / sizeof(std::uint64_t) && used <= now.records_room());
    if (index_fits && bytes <= now.records_room() - used) {
      return;
    }
  }
  const std::uint64_t live = live_bytes();
  constexpr std::uint64_t words_of_slot = 2;
  const std::uint64_t index_room =
      index_fits ? now.index_room
      : is_heap
          ? std::max<std::uint64_t>(512, 2 * now.index_room)
          : words_of_slot *
                std::bit_ceil(std::max<std::uint64_t>(64, 4 * (get(state.objects) + objects)));
  // Areas are powers of two, so moving everything is rare. A heap's records have gaps between them,
  // which are worth moving for only if they are half of the area.
  move_to(is_heap ? 2 * live + bytes : live + bytes, index_room);
}

void queue_operation::move_to(std::uint64_t least_records, std::uint64_t index_room) {
  const record_area old = area();
  const std::uint64_t index_bytes = index_room * sizeof(std::uint64_t);
  record_area made{0, 0, index_room};
  check_intact(least_records < std::uint64_t{1} << 46 && index_room < std::uint64_t{1} << 40);
  made.bytes =
      std::max(least_area, std::bit_ceil(least_records)) + (index_bytes + 4095) / 4096 * 4096;
  made.at = made.bytes <= old.at ? 0 : old.at + old.bytes;
  storage_.provide(made.at, made.bytes);
  const std::uint64_t count = this->count();
  std::uint64_t head = 0;
  std::uint64_t tail = 0;
  // Into memory where nothing is, so that a death on the way changes nothing.
  if (kind_ == object_kind::priority_queue) {
    check_intact(count <= made.index_room);
    std::vector<std::byte> moved;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t position = index_word(i).load(std::memory_order_relaxed);
      const std::uint64_t bytes = record_bytes(read_record(old, position));
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
      const std::uint64_t room = old.records_room();
      check_intact(room != 0 && bytes <= room && bytes <= made.records_room());
      const std::uint64_t first = std::min(bytes, room - begin % room);
      // Both ends at once, as mapping more moves what is mapped.
      static_cast<void>(storage_.at(made.at, made.bytes));
      const std::byte* const from = storage_.at(old.at, old.bytes) + (old.records_at() - old.at);
      std::byte* const to = storage_.at(made.at, made.bytes) + (made.records_at() - made.at);
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
  if (kind_ == object_kind::queue) {
    tx.set(state.seen_head, head);
    tx.set(state.seen_tail, head);
  }
  tx.set(state.version, get(state.version) + 1);
  const bool has_table = kind_ != object_kind::priority_queue && made.index_room != 0;
  if (has_table) {
    tx.set(state.objects_changing, 1);  // it is not there yet
  }
  tx.commit();
  storage_.release(old.at, old.bytes);
  crash_step();
  if (has_table) {
    count_objects();
  }
}

void queue_operation::store(const queue_item& item) {
  finish_counting();
  const std::uint64_t payload = item.payload().size();
  id_list ids;
  for (const auto& one : item.attachments) {
    if (std::find(ids.begin(), ids.end(), one->id()) == ids.end()) {
      ids.push_back(one->id());
    }
  }
  const std::uint64_t ids_bytes = ids.size() * sizeof(std::uint64_t);
  const std::uint64_t bytes = record_bytes(payload + ids_bytes);
  if (ids.size() > queue_socket::most_descriptors ||
      (!item.attachments.empty() && kind_ == object_kind::priority_queue)) {
    throw error{errc::argument_encode_failed, task_ran::no,
                kind_ == object_kind::priority_queue
                    ? "troupe: an item of a priority_queue cannot have handles of shared objects "
                      "in it, as it is compared in any process"
                    : "troupe: an item of a queue can have at most 253 handles of shared objects "
                      "in it"};
  }
  if (kind_ == object_kind::queue && count() == 0 && get(state.tail) != 0) {
    begin_anew();
    tx.commit();
  }
  make_room(bytes, ids.size());
  const record_area now = area();
  if (!ids.empty()) {
    keep_objects(item.attachments, ids);
  }
  const std::uint64_t ticket = get(state.next_ticket);
  tx.set(state.next_ticket, ticket + 1);
  const std::uint64_t at = get(state.tail);
  const item_record header{payload, ids.size(), ticket};
  copy_in(now, at, &header, sizeof header);
  copy_in(now, at + sizeof header, item.payload().data(), payload);
  copy_in(now, at + sizeof header + payload, ids.data(), ids_bytes);
  if (kind_ == object_kind::lifo_queue) {
    copy_in(now, at + bytes - record_alignment, &bytes, sizeof bytes);
  }
  crash_step();
  const std::uint64_t count = this->count();
  if (kind_ == object_kind::priority_queue) {
    begin_journal();
    sift_up(count, at);
    tx.set(state.head, get(state.head) + bytes);
    tx.set(state.version, get(state.version) + 1);
  }
  tx.set(state.tail, at + bytes);
  tx.add(state.put, 1);
  if (!ids.empty()) {
    end_counting();
  }
  tx.commit();
  tx.wake(has_items);
}

bool queue_operation::take(queue_item& to) {
  finish_counting();
  const record_area now = area();
  const std::uint64_t count = this->count();
  check_intact(now.bytes != 0 && now.index_room <= now.bytes / sizeof(std::uint64_t));
  const std::uint64_t at = kind_ == object_kind::queue ? get(state.head)
                           : kind_ == object_kind::lifo_queue
                               ? last_record(now, get(state.tail))
                               : index_word(0).load(std::memory_order_relaxed);
  const item_record header = read_record(now, at);
  const std::uint64_t bytes = record_bytes(header);
  std::byte* const room = to.bytes.extend(header.bytes());
  copy_out(now, at + sizeof header, room, header.bytes());
  bool lost = false;
  id_list ids;
  if (header.descriptors() != 0) {
    ids = read_ids(now, at, header);
    auto came = socket_.find(ids);
    lost = !came;
    if (came) {
      to.attachments = std::move(*came);
    }
  }

  if (kind_ == object_kind::queue) {
    check_intact(get(state.tail) - at >= bytes && (count > 1 || at + bytes == get(state.tail)));
    if (count > 1) {
      tx.set(state.head, at + bytes);
      tx.set(state.seen_tail, get(state.tail));
    } else {
      begin_anew();
    }
  } else if (kind_ == object_kind::lifo_queue) {
    tx.set(state.tail, at);
  } else {
    begin_journal();
    sift_down(count - 1, index_word(count - 1).load(std::memory_order_relaxed));
    tx.set(state.head, count == 1 ? 0 : get(state.head) - bytes);
    if (count == 1) {
      tx.set(state.tail, 0);
    }
    tx.set(state.version, get(state.version) + 1);
  }
  tx.add(state.taken, 1);
  if (!ids.empty()) {
    tx.set(state.objects_changing, 1);
  }
  if (lost) {
    tx.add(state.done, 1);
    tx.wake(all_done);
  } else {
    tx.add(tx.own().counters[taken_and_not_done], 1);
  }
  tx.commit();
  if (get(state.capacity) != 0) {
    tx.wake(has_room);
  }
  if (!ids.empty()) {
    try {
      release_objects(ids);
    } catch (...) {  // NOLINT(bugprone-empty-catch): the next operation counts anew
    }
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
  if (count() == 0 && get(state.area_bytes) > area_to_keep) {
    try {
      move_to(0, get(state.index_room) == 0 ? 0 : 512);
    } catch (...) {  // NOLINT(bugprone-empty-catch): then it keeps what it has
    }
  }
}

}  // namespace troupe::detail
