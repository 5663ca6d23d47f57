// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace troupe::detail {

// Channels of the region.
enum queue_channel : std::size_t { has_items, has_room, all_done };
// Counters of a process's slot.
enum queue_counter : std::size_t { taken_and_not_done };

struct journal_entry {
  shared_word offset, value;
};

/// The payload of the region. The items are in the storage, in one area of it:
///
///   queue            a ring of records from `head` to `tail`, which count on and wrap
///   lifo_queue       records with their sizes behind them, from 0 to `tail`
///                    both: before them `index_room` words, a hash table of the shared objects that
///                    items refer to: id, and how many do
///   priority_queue   a heap of `index_room` words, each where a record is; then records and gaps
///                    up to `tail`, of which `head` bytes are used
///
/// Records are written where nothing is, and then the words here change, by the transaction's undo
/// log. Only a heap's words change in place: what they were is in the journal, which counts as long
/// as `version` is what it was when it was written.
struct queue_state {
  shared_word capacity, closed, count, unfinished, next_ticket;
  shared_word storage_id, socket_id;
  shared_word area, area_bytes, index_room, head, tail;
  shared_word version;
  shared_word journal_version, journal_size;
  std::array<journal_entry, 64> journal;
  // Of a queue and a stack: objects in the table, descriptors in the socket; and whether the table
  // is being changed, so that it has to be made anew if that process dies.
  shared_word objects, waiting_descriptors, objects_changing;
};

/// Throws error{protocol_error}: what the memory of a queue says cannot be.
[[noreturn]] void fail_damaged_queue();

inline void check_intact(bool holds) {
  if (!holds) [[unlikely]] {
    fail_damaged_queue();
  }
}

}  // namespace troupe::detail
