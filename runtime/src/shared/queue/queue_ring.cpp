// SPDX-License-Identifier: BSD-3-Clause
#include "shared/queue/queue_ring.hpp"

#include "troupe/error.hpp"

#include "os/adaptive_spin.hpp"
#include "shared/core/crash_step.hpp"
#include "shared/core/robust_lock_fast.hpp"
#include "shared/queue/queue_records.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>

namespace troupe::detail {
namespace {

/// How often, in bytes of records, who puts looks whether the queue is empty and can begin anew in
/// memory that is still in the caches.
constexpr unsigned begin_anew_shift = 15;

std::uint64_t get(const shared_word& word) {
  return word.load(std::memory_order_relaxed);
}
/// The two sides work at a distance in the ring: who comes next to a line that the other one had
/// asks for it early, as the lock's instructions wait for all that was written before.
constexpr std::uint64_t ahead = 256;
void prefetch_to_write(const std::byte* at) noexcept {
#if defined(__x86_64__)
  // Not by the compiler's function, which makes it a prefetch to read for the first x86_64.
  asm volatile("prefetchw %0" : : "m"(*at));
#else
  __builtin_prefetch(at, 1);
#endif
}
void prefetch_to_read(const std::byte* at) noexcept {
  __builtin_prefetch(at, 0);
}

/// memcpy, without a call for a number.
void copy_small(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
  if (bytes == 4) {
    std::memcpy(to, from, 4);
  } else if (bytes == 8) {
    std::memcpy(to, from, 8);
  } else if (bytes != 0) {
    std::memcpy(to, from, bytes);
  }
}
/// `at % room`, without the division for most rooms.
std::uint64_t position_in(std::uint64_t room, std::uint64_t at) noexcept {
  return (room & (room - 1)) == 0 ? at & (room - 1) : at % room;
}

/// For this side's words.
void store(shared_word& word, std::uint64_t value) {
  // Release: in the order of the program, also for who comes after a death.
  word.store(value, std::memory_order_release);
  crash_step();
}

}  // namespace

void fail_all_done() {
  throw std::logic_error{"troupe: task_done was called more often than items were taken"};
}

void wake_awaited(region& object, queue_state& state, std::size_t channel) noexcept {
  // What was written comes before what is looked at, as for the thread that says that it waits and
  // then looks a last time: one of the two sees what the other has written.
#if defined(__x86_64__)
  // The lock was released in between by an instruction that is such a barrier here.
  std::atomic_signal_fence(std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
  // The first that comes wakes all, and the others need not call the kernel.
  if (state.awaited[channel].load() != 0 && state.awaited[channel].exchange(0) != 0) {
    crash_step();
    transaction::wake_now(object, channel);
  }
}

// ---- who puts ----------------------------------------------------------------------------------

void finish_put(queue_state& state) {
  if (state.put_log.is_valid.load(std::memory_order_acquire) == 0) [[likely]] {
    return;
  }
  store(state.put, get(state.put_log.put));
  state.tail.store(get(state.put_log.tail), std::memory_order_release);
  crash_step();
  state.put_log.is_valid.store(0, std::memory_order_release);
  crash_step();
}

queue_writer::queue_writer(region& object)
    : object_{object}, state_{object.state<queue_state>()}, kind_{object.kind()} {
  static_cast<void>(object.own_slot());  // this process has the object
  const lock_result result = try_acquire_fast(object.lock());
  is_locked_ = result == lock_result::taken || result == lock_result::inherited;
  if (result != lock_result::taken ||
      object.header().undo_size.load(std::memory_order_relaxed) != 0) [[unlikely]] {
    // It waits, and does what there is to do after a death.
    unlock();
    tx_.emplace(object);
  }
  crash_step();
  finish_put(state_);
}

queue_writer::~queue_writer() {
  tx_.reset();
  unlock();
  if (wakes_) {
    transaction::wake_now(object_, has_items);
  }
}

void queue_writer::unlock() noexcept {
  if (is_locked_) {
    is_locked_ = false;
    release_owned(object_.lock());
    crash_step();
  }
}

queue_writer::answer queue_writer::put(queue_storage& storage, const queue_item& item) {
  if (get(state_.closed) != 0 || get(state_.objects_changing) != 0 || !item.attachments.empty())
      [[unlikely]] {
    return answer::needs_both;
  }
  const std::uint64_t count = get(state_.put);
  const std::uint64_t capacity = get(state_.capacity);
  if (capacity != 0 && count - get(state_.seen_taken) >= capacity) {
    // Acquire: what is read of `head` later is as new as this.
    const std::uint64_t taken = state_.taken.load(std::memory_order_acquire);
    store(state_.seen_taken, taken);
    if (count - taken >= capacity) {
      return answer::full;
    }
  }
  const record_area area = record_area::of(state_);
  check_intact(area.is_possible());
  const std::uint64_t room = area.records_room();
  const std::span<const std::byte> payload = item.payload();
  const std::uint64_t bytes = record_bytes(kind_, payload.size());
  const std::uint64_t at = get(state_.tail);
  const std::uint64_t end = at + bytes;
  check_intact(at % record_alignment == 0 && get(state_.seen_head) <= at);
  const bool looks = (at >> begin_anew_shift) != (end >> begin_anew_shift);
  if (looks || end - get(state_.seen_head) > room) {
    // Acquire: who took the items before has read them.
    const std::uint64_t head = state_.head.load(std::memory_order_acquire);
    store(state_.seen_head, head);
    check_intact(head <= at && at - head <= room);
    if (end - head > room || (head == at && at != 0)) {
      return answer::needs_both;
    }
  }
  const item_record header{payload.size(), 0, count};
  std::byte* const records = storage.at(area.records_at(), room);
  if (const std::uint64_t from = position_in(room, at); from + bytes + ahead <= room) {
    header.write_to(records + from);
    copy_small(records + from + sizeof header, payload.data(), payload.size());
    prefetch_to_write(records + from + bytes + ahead - 1);
  } else {
    copy_in(storage, area, at, &header, sizeof header);
    copy_in(storage, area, at + sizeof header, payload.data(), payload.size());
  }
  crash_step();
  store(state_.put_log.tail, end);
  store(state_.put_log.put, count + 1);
  // Release, here and when it is not valid any more: the log is whole while it is.
  state_.put_log.is_valid.store(1, std::memory_order_release);
  crash_step();
  store(state_.put, count + 1);
  // Pairs with queue_readers::take: the record is there.
  state_.tail.store(end, std::memory_order_release);
  crash_step();
  state_.put_log.is_valid.store(0, std::memory_order_release);
  crash_step();
  if (get(state_.awaited[has_items]) != 0) {
    store(state_.awaited[has_items], 0);
    wakes_ = true;
  }
  return answer::put;
}

// ---- who takes ---------------------------------------------------------------------------------

queue_readers::queue_readers(region& object, process_slot& own)
    : object_{object}, state_{object.state<queue_state>()}, own_{own} {
  lock();
}

void queue_readers::lock() {
  lock_result result = try_acquire_fast(object_.second_lock());
  if (result == lock_result::busy) {
    result = acquire(object_.second_lock());
  }
  if (result == lock_result::own) {
    throw error{errc::would_deadlock, task_ran::no,
                "an operation on a shared object was begun from within another one of the same "
                "object and thread"};
  }
  if (result == lock_result::inherited) {
    object_.second_lock().inherited.store(0, std::memory_order_relaxed);
  }
  locked_ = true;
  crash_step();
  if (get(state_.take_log.is_valid) != 0) [[unlikely]] {
    try {
      finish_take();
    } catch (...) {
      unlock();
      throw;
    }
  }
}

void queue_readers::unlock() noexcept {
  if (locked_) {
    locked_ = false;
    release_owned(object_.second_lock());
    crash_step();
  }
}

void queue_readers::finish_take() {
  const auto slots = object_.slots();
  const std::uint64_t slot = get(state_.take_log.slot);
  check_intact(slot < slots.size());
  store(slots[slot].counters[taken_and_not_done], get(state_.take_log.counter));
  state_.head.store(get(state_.take_log.head), std::memory_order_release);
  crash_step();
  store(state_.done, get(state_.take_log.done));
  store(state_.taken, get(state_.take_log.taken));
  state_.take_log.is_valid.store(0, std::memory_order_release);
  crash_step();
}

void queue_readers::commit(std::uint64_t head, std::uint64_t taken, std::uint64_t done,
                           std::uint64_t counter) {
  auto& log = state_.take_log;
  store(log.head, head);
  store(log.taken, taken);
  store(log.done, done);
  store(log.slot, static_cast<std::uint64_t>(&own_ - object_.slots().data()));
  store(log.counter, counter);
  // Release, here and when it is not valid any more: the log is whole while it is.
  log.is_valid.store(1, std::memory_order_release);
  crash_step();
  store(own_.counters[taken_and_not_done], counter);
  // Release: the record was read. Pairs with queue_writer::put.
  state_.head.store(head, std::memory_order_release);
  crash_step();
  store(state_.done, done);
  store(state_.taken, taken);
  log.is_valid.store(0, std::memory_order_release);
  crash_step();
}

queue_readers::answer queue_readers::take(queue_storage& storage, queue_item& to) {
  if (is_interrupted()) [[unlikely]] {
    return answer::needs_both;
  }
  const record_area area = record_area::of(state_);
  check_intact(area.is_possible());
  const std::uint64_t at = get(state_.head);
  const std::uint64_t taken = get(state_.taken);
  std::uint64_t tail = get(state_.seen_tail);
  if (at == tail) {
    // Acquire: the record is there, and `put` counts it.
    tail = state_.tail.load(std::memory_order_acquire);
    check_intact(at == tail || get(state_.put) != taken);
    store(state_.seen_tail, tail);
    if (at == tail) {
      store(state_.in_a_row, taken - get(state_.taken_at_empty));
      store(state_.taken_at_empty, taken);
      return answer::empty;
    }
  }
  const std::uint64_t room = area.records_room();
  check_intact(at <= tail && tail - at <= room && room != 0 && at % record_alignment == 0);
  std::byte* const records = storage.at(area.records_at(), room);
  const std::uint64_t from = position_in(room, at);
  item_record header;
  if (from + ahead <= room) {
    header = item_record::read_from(records + from);
    if (tail - at > ahead) {
      prefetch_to_read(records + from + ahead - 1);
    }
  } else {
    copy_out(storage, area, at, &header, sizeof header);
  }
  check_intact(header.bytes() <= room && header.descriptors() <= queue_socket::most_descriptors);
  const std::uint64_t bytes = record_bytes(object_kind::queue, header);
  check_intact(bytes <= tail - at);
  if (header.descriptors() != 0) [[unlikely]] {
    return answer::needs_both;
  }
  to.is_plain = header.bytes() != 0 && header.bytes() == to.plain.size();
  std::byte* payload = to.plain.data();
  if (!to.is_plain) {
    to.bytes = take_spare_buffer();
    payload = to.bytes.extend(header.bytes());
  }
  if (from + bytes <= room) {
    copy_small(payload, records + from + sizeof header, header.bytes());
  } else {
    copy_out(storage, area, at + sizeof header, payload, header.bytes());
  }
  commit(at + bytes, taken + 1, get(state_.done), get(own_.counters[taken_and_not_done]) + 1);
  return answer::taken;
}

void queue_readers::finish_one() {
  const std::uint64_t done = get(state_.done);
  const std::uint64_t taken = get(state_.taken);
  if (done >= taken) {
    fail_all_done();
  }
  // Another process may have taken it: then that one's count is too high by one, which matters
  // when it dies, and is bounded there by what is left.
  const std::uint64_t own = get(own_.counters[taken_and_not_done]);
  commit(get(state_.head), taken, done + 1, own == 0 ? 0 : own - 1);
}

// ---- who waits ---------------------------------------------------------------------------------

bool spin_for_items(const queue_state& state) {
  constinit thread_local adaptive_spin spin;
  // A reader that has caught up with a writer in full flow lets it get ahead, for as long as it has
  // worked itself: both work faster if they do not meet at each item.
  constexpr std::uint64_t most_at_once = 64;
  constexpr std::uint64_t items_of_pause = 4;
  std::uint64_t pauses = std::min(get(state.in_a_row), most_at_once) / items_of_pause;
  return spin([&] {
    for (; pauses != 0; --pauses) {
      spin_watch::pause();
    }
    // Only a hint: it is looked again with a lock.
    return state.tail.load(std::memory_order_acquire) != state.head.load(std::memory_order_acquire);
  });
}

bool spin_for_room(const queue_state& state) {
  constinit thread_local adaptive_spin spin;
  // More than for one item, for the same reason, but not for long.
  const std::uint64_t capacity = get(state.capacity);
  const std::uint64_t enough = std::clamp<std::uint64_t>(capacity / 4, 1, 256);
  int patience = 16;
  return spin([&] {
    const std::uint64_t count = get(state.put) - state.taken.load(std::memory_order_acquire);
    return count + enough <= capacity || (count < capacity && --patience == 0);
  });
}

}  // namespace troupe::detail
