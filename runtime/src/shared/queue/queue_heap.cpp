// SPDX-License-Identifier: BSD-3-Clause

// The heap of a priority_queue: changed in place, with a journal of what its words were.

#include "shared/core/crash_step.hpp"
#include "shared/queue/queue_operation.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>

namespace troupe::detail {
namespace {

constexpr std::uint64_t heap_arity = 4;

}  // namespace

void queue_operation::undo_heap() {
  const std::uint64_t size = state.journal_size.load(std::memory_order_relaxed);
  if (size == 0) {
    return;
  }
  if (get(state.journal_version) == get(state.version)) {
    const std::uint64_t last = get(state.area) + get(state.area_bytes);
    for (std::uint64_t i = std::min<std::uint64_t>(size, state.journal.size()); i-- > 0;) {
      const std::uint64_t offset = get(state.journal[i].offset);
      check_intact(offset % sizeof(shared_word) == 0 && offset < last);
      crash_step();
      reinterpret_cast<shared_word*>(storage_.at(offset, sizeof(shared_word)))
          ->store(get(state.journal[i].value), std::memory_order_release);
    }
  }
  state.journal_size.store(0, std::memory_order_release);
  crash_step();
}

void queue_operation::begin_journal() {
  state.journal_size.store(0, std::memory_order_release);
  crash_step();
  state.journal_version.store(get(state.version), std::memory_order_release);
  crash_step();
}

shared_word& queue_operation::index_word(std::uint64_t index) {
  const std::uint64_t begin = get(state.area);
  check_intact(index < get(state.index_room) && begin % sizeof(shared_word) == 0);
  return *reinterpret_cast<shared_word*>(
      storage_.at(begin + index * sizeof(shared_word), sizeof(shared_word)));
}

void queue_operation::set_heap(std::uint64_t index, std::uint64_t position) {
  shared_word& word = index_word(index);
  const std::uint64_t size = state.journal_size.load(std::memory_order_relaxed);
  check_intact(size < state.journal.size());
  state.journal[size].offset.store(get(state.area) + index * sizeof(shared_word),
                                   std::memory_order_relaxed);
  state.journal[size].value.store(word.load(std::memory_order_relaxed), std::memory_order_relaxed);
  crash_step();
  // Release: the entry is whole when it counts, and counts before the word changes.
  state.journal_size.store(size + 1, std::memory_order_release);
  crash_step();
  word.store(position, std::memory_order_release);
  crash_step();
}

bool queue_operation::is_before(std::uint64_t a, std::uint64_t b) {
  const record_area now = area();
  const auto item_at = [&](std::uint64_t position, item_record& header) {
    header = read_record(now, position);
    // One that wraps was never written; and `room` has a header's bytes, as one was read.
    const std::uint64_t room = now.records_room() - sizeof header;
    check_intact(position % record_alignment == 0 && position <= room &&
                 header.bytes() <= room - position);
    return std::span<const std::byte>{
        storage_.at(now.records_at(), now.records_room()) + position + sizeof header,
        header.bytes()};
  };
  item_record first;
  item_record second;
  const auto one = item_at(a, first);
  const auto other = item_at(b, second);
  return before_(one, other) || (first.ticket() < second.ticket() && !before_(other, one));
}

void queue_operation::sift_up(std::uint64_t hole, std::uint64_t position) {
  while (hole > 0) {
    const std::uint64_t parent = (hole - 1) / heap_arity;
    const std::uint64_t above = index_word(parent).load(std::memory_order_relaxed);
    if (!is_before(position, above)) {
      break;
    }
    set_heap(hole, above);
    hole = parent;
  }
  set_heap(hole, position);
}

void queue_operation::sift_down(std::uint64_t count, std::uint64_t position) {
  if (count == 0) {
    return;
  }
  std::uint64_t hole = 0;
  for (std::uint64_t child = 1; child < count; child = heap_arity * hole + 1) {
    std::uint64_t best = child;
    std::uint64_t best_position = index_word(child).load(std::memory_order_relaxed);
    for (std::uint64_t i = child + 1; i < std::min(child + heap_arity, count); ++i) {
      const std::uint64_t other = index_word(i).load(std::memory_order_relaxed);
      if (is_before(other, best_position)) {
        best = i;
        best_position = other;
      }
    }
    if (!is_before(best_position, position)) {
      break;
    }
    set_heap(hole, best_position);
    hole = best;
  }
  set_heap(hole, position);
}

}  // namespace troupe::detail
