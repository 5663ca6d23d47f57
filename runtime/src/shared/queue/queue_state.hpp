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
///
/// A queue has two sides, which do not wait for each other: who puts has the region's lock, who
/// takes its second one; all that is more than that has both. See queue_ring.hpp.
struct queue_state {
  // What both sides read, and what rarely changes.
  shared_word capacity, closed, storage_id, socket_id;
  shared_word area, area_bytes, index_room, version;
  /// Of each channel, in a queue: a thread sleeps there, or is about to, since the last wake-up.
  std::array<shared_word, wait_channels> awaited;
  // Of a queue and a stack: objects in the table, descriptors in the socket; and whether the table
  // is being changed, so that it has to be made anew if that process dies.
  shared_word objects, waiting_descriptors, objects_changing;

  // The side of those that put. `put` items, ever. `seen_*`: what the other side's words were when
  // they were last looked at.
  alignas(128) shared_word tail, put, next_ticket, seen_head, seen_taken;
  /// What an item changes that is put under this side's lock alone: it is made once `is_valid`.
  struct {
    shared_word is_valid, tail, put;
  } put_log;

  // The side of those that take. `taken` items, ever, and `done` ones.
  alignas(128) shared_word head, taken, done, seen_tail;
  /// What is changed under this side's lock alone, as above; with the counter of a process's slot.
  struct {
    shared_word is_valid, head, taken, done, slot, counter;
  } take_log;
  /// How many were taken when it was empty, and how many in a row before. For waiting only.
  shared_word taken_at_empty, in_a_row;
  /// A thread has both locks, or died with both: the undo log may have words of this side.
  shared_word both_sides;

  alignas(128) shared_word journal_version, journal_size;
  std::array<journal_entry, 64> journal;
};

/// Throws error{protocol_error}: what the memory of a queue says cannot be.
[[noreturn]] void fail_damaged_queue();

inline void check_intact(bool holds) {
  if (!holds) [[unlikely]] {
    fail_damaged_queue();
  }
}

}  // namespace troupe::detail
