// SPDX-License-Identifier: BSD-3-Clause

// The shared objects that items of a queue refer to. Each waits in the queue's socket once, as long
// as some item refers to it: how many do is in a hash table before the records. The table says
// nothing that the records do not say, so when a process dies while it changes it, the next one
// makes it anew.

#include "troupe/error.hpp"

#include "shared/core/crash_step.hpp"
#include "shared/queue/queue_operation.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

namespace troupe::detail {

// A slot of the table is two words, the id (0: free) and the references; an object is in the first
// free slot from where its id says.

std::uint64_t queue_operation::table_slots() const {
  const std::uint64_t slots = get(state.index_room) / 2;
  check_intact(slots == 0 || std::has_single_bit(slots));
  return slots;
}

std::uint64_t queue_operation::find_object(std::uint64_t id) {
  const std::uint64_t slots = table_slots();
  for (std::uint64_t i = 0; i < slots; ++i) {
    const std::uint64_t slot = (id + i) & (slots - 1);
    const std::uint64_t there = index_word(2 * slot).load(std::memory_order_relaxed);
    if (there == id || there == 0) {
      return slot;
    }
  }
  fail_damaged_queue();
}

bool queue_operation::is_needed(std::uint64_t id) {
  return table_slots() != 0 &&
         index_word(2 * find_object(id)).load(std::memory_order_relaxed) == id && id != 0;
}

void queue_operation::add_reference(std::uint64_t id) {
  check_intact(id != 0);
  const std::uint64_t slot = find_object(id);
  shared_word& there = index_word(2 * slot);
  if (there.load(std::memory_order_relaxed) == 0) {
    check_intact(2 * (objects_ + 1) <= table_slots());
    there.store(id, std::memory_order_relaxed);
    index_word(2 * slot + 1).store(0, std::memory_order_relaxed);
    ++objects_;
  }
  index_word(2 * slot + 1).fetch_add(1, std::memory_order_relaxed);
  crash_step();
}

void queue_operation::remove_reference(std::uint64_t id) {
  std::uint64_t slot = find_object(id);
  check_intact(id != 0 && index_word(2 * slot).load(std::memory_order_relaxed) == id);
  shared_word& references = index_word(2 * slot + 1);
  if (references.load(std::memory_order_relaxed) > 1) {
    references.fetch_sub(1, std::memory_order_relaxed);
    crash_step();
    return;
  }
  // Those behind it move up, so that no search ends at the hole.
  const std::uint64_t slots = table_slots();
  for (std::uint64_t i = 1; i < slots; ++i) {
    const std::uint64_t next = (slot + i) & (slots - 1);
    const std::uint64_t other = index_word(2 * next).load(std::memory_order_relaxed);
    if (other == 0) {
      break;
    }
    if (((next - other) & (slots - 1)) >= i) {
      index_word(2 * slot).store(other, std::memory_order_relaxed);
      index_word(2 * slot + 1)
          .store(index_word(2 * next + 1).load(std::memory_order_relaxed),
                 std::memory_order_relaxed);
      crash_step();
      slot = next;
      i = 0;
    }
  }
  index_word(2 * slot).store(0, std::memory_order_relaxed);
  index_word(2 * slot + 1).store(0, std::memory_order_relaxed);
  --objects_;
  crash_step();
}

queue_operation::id_list queue_operation::read_ids(const record_area& in, std::uint64_t position,
                                                   const item_record& header) {
  id_list ids(header.descriptors());
  copy_out(in, position + sizeof header + header.bytes(), ids.data(),
           ids.size() * sizeof(std::uint64_t));
  return ids;
}

void queue_operation::count_objects() {
  const record_area now = area();
  check_intact(kind_ != object_kind::priority_queue);
  for (std::uint64_t i = 0; i < now.index_room; ++i) {
    index_word(i).store(0, std::memory_order_relaxed);
  }
  crash_step();
  objects_ = 0;
  const bool is_stack = kind_ == object_kind::lifo_queue;
  const std::uint64_t begin = is_stack ? 0 : get(state.head);
  std::uint64_t at = is_stack ? get(state.tail) : begin;
  for (std::uint64_t left = count(); left != 0; --left) {
    at = is_stack ? last_record(now, at) : at;
    const item_record header = read_record(now, at);
    for (const std::uint64_t id : read_ids(now, at, header)) {
      add_reference(id);
    }
    if (!is_stack) {
      const std::uint64_t bytes = record_bytes(header);
      check_intact(bytes <= get(state.tail) - at);
      at += bytes;
    }
  }
  tx.set(state.waiting_descriptors, socket_.count());
  end_counting();
  tx.commit();
}

void queue_operation::begin_counting() {
  objects_ = get(state.objects);
  tx.set(state.objects_changing, 1);
  tx.commit();
}

void queue_operation::end_counting() {
  tx.set(state.objects, objects_);
  tx.set(state.objects_changing, 0);
}

void queue_operation::keep_objects(const attachment_list& what, const id_list& ids) {
  id_list fresh;
  std::vector<int> numbers;
  for (const std::uint64_t id : ids) {
    if (!is_needed(id)) {
      fresh.push_back(id);
      numbers.push_back((*std::find_if(what.begin(), what.end(), [id](const auto& one) {
                          return one->id() == id;
                        }))->number());
    }
  }
  begin_counting();
  if (!fresh.empty()) {
    try {
      try {
        socket_.send(fresh, numbers);
      } catch (const error&) {
        if (get(state.waiting_descriptors) <= objects_) {
          throw;
        }
        tidy_socket();
        socket_.send(fresh, numbers);
      }
    } catch (...) {
      end_counting();
      tx.commit();
      throw;
    }
    crash_step();
    tx.set(state.waiting_descriptors, get(state.waiting_descriptors) + fresh.size());
    tx.commit();
  }
  for (const std::uint64_t id : ids) {
    add_reference(id);
  }
}

void queue_operation::release_objects(const id_list& ids) {
  objects_ = get(state.objects);
  for (const std::uint64_t id : ids) {
    remove_reference(id);
  }
  drop_unneeded();
  end_counting();
  tx.commit();
}

void queue_operation::drop_unneeded() {
  // Behind a message that is needed some others may stay for a while.
  constexpr std::uint64_t bearable = 8;
  while (get(state.waiting_descriptors) > objects_) {
    const auto first = socket_.front();
    const std::uint64_t waiting = get(state.waiting_descriptors);
    if (!first) {
      tx.set(state.waiting_descriptors, 0);
      tx.commit();
      return;
    }
    if (std::any_of(first->begin(), first->end(),
                    [this](std::uint64_t id) { return is_needed(id); })) {
      break;
    }
    socket_.drop();
    crash_step();
    tx.set(state.waiting_descriptors, waiting - std::min<std::uint64_t>(waiting, first->size()));
    tx.commit();
  }
  if (get(state.waiting_descriptors) > 2 * objects_ + bearable) {
    tidy_socket();
  }
}

void queue_operation::tidy_socket() {
  try {
    socket_.tidy([this](std::uint64_t id) { return is_needed(id); });
  } catch (const error& problem) {
    if (problem.code() != errc::resource_exhausted) {
      throw;
    }
  }
  tx.set(state.waiting_descriptors, socket_.count());
  tx.commit();
}

}  // namespace troupe::detail
