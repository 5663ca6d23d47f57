// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/monitor.hpp"
#include "troupe/detail/queue_core.hpp"
#include "troupe/detail/region.hpp"

#include "queue_socket.hpp"
#include "queue_state.hpp"
#include "queue_storage.hpp"

#include <cstddef>
#include <cstdint>

namespace troupe::detail {

inline constexpr std::uint64_t record_alignment = 16;

/// Before each item's bytes in the storage. A lifo_queue's has its own size behind it too.
struct item_record {
  std::uint64_t bytes = 0;
  std::uint64_t ticket = 0;
  std::uint64_t descriptors = 0;
  std::uint64_t unused = 0;
};
static_assert(sizeof(item_record) % record_alignment == 0);

constexpr std::uint64_t rounded_to_records(std::uint64_t bytes) {
  return (bytes + record_alignment - 1) / record_alignment * record_alignment;
}

/// What one operation of a queue does with the lock held: how it reads and changes the items in the
/// storage (queue_operation.cpp), and the order of a priority_queue's (queue_heap.cpp).
class queue_operation {
 public:
  queue_operation(region& object, queue_storage& storage, const queue_socket& socket,
                  queue_before before)
      : tx{object},
        state{object.state<queue_state>()},
        kind_{object.kind()},
        storage_{storage},
        socket_{socket},
        before_{before} {
    undo_heap();
    check_state();
  }

  /// Leaves nothing to be committed when it fails.
  void store(const queue_item& item);
  /// Takes the next item out; false if it was lost, and there may be another one.
  bool take(queue_item& to);
  /// An empty queue's, if it is much.
  void give_memory_back() noexcept;
  /// Waits on a channel; false once the time is over.
  [[nodiscard]] bool wait(std::size_t channel, const deadline& until) {
    if (!tx.wait(channel, until)) {
      return false;
    }
    undo_heap();  // of whoever died meanwhile
    check_state();
    return true;
  }

  transaction tx;
  queue_state& state;

 private:
  struct span_of_area {
    std::uint64_t at, bytes, index_room;
  };
  [[nodiscard]] std::uint64_t get(const shared_word& word) const { return tx.get(word); }
  [[nodiscard]] span_of_area area() const {
    return {get(state.area), get(state.area_bytes), get(state.index_room)};
  }
  [[nodiscard]] std::uint64_t record_bytes(std::uint64_t payload) const {
    return sizeof(item_record) + rounded_to_records(payload) +
           (kind_ == object_kind::lifo_queue ? record_alignment : 0);
  }
  /// Where the records of an area begin, and how many bytes of them there is room for.
  [[nodiscard]] static std::uint64_t records_at(const span_of_area& in) {
    return in.at + in.index_room * sizeof(std::uint64_t);
  }
  [[nodiscard]] static std::uint64_t records_room(const span_of_area& in) {
    return in.bytes - in.index_room * sizeof(std::uint64_t);
  }
  [[nodiscard]] std::uint64_t live_bytes() const;
  /// Throws error{protocol_error} if the words of the state contradict each other: what they say
  /// would be waited for, or allocated.
  void check_state() const;
  void make_room(std::uint64_t bytes);
  void move_to(std::uint64_t least_records, std::uint64_t index_room);

  // Positions count from where the records begin, and wrap.
  void copy_in(const span_of_area& to, std::uint64_t position, const void* from,
               std::uint64_t bytes);
  void copy_out(const span_of_area& from, std::uint64_t position, void* to, std::uint64_t bytes);
  [[nodiscard]] item_record read_record(const span_of_area& in, std::uint64_t position) {
    item_record found;
    copy_out(in, position, &found, sizeof found);
    check_intact(found.bytes <= records_room(in) && record_bytes(found.bytes) <= records_room(in));
    return found;
  }
  /// Of a lifo_queue, the one that ends at `end`.
  [[nodiscard]] std::uint64_t last_record(const span_of_area& in, std::uint64_t end) {
    std::uint64_t bytes = 0;
    check_intact(end >= record_alignment);
    copy_out(in, end - record_alignment, &bytes, sizeof bytes);
    check_intact(bytes >= sizeof(item_record) + record_alignment && bytes <= end &&
                 bytes % record_alignment == 0);
    return end - bytes;
  }
  [[nodiscard]] bool is_gone(std::uint64_t ticket);

  // The heap of a priority_queue.
  void undo_heap();
  void begin_journal();
  [[nodiscard]] shared_word& heap_word(std::uint64_t index);
  void set_heap(std::uint64_t index, std::uint64_t position);
  [[nodiscard]] bool is_before(std::uint64_t a, std::uint64_t b);
  void sift_up(std::uint64_t hole, std::uint64_t position);
  void sift_down(std::uint64_t count, std::uint64_t position);

  object_kind kind_;
  queue_storage& storage_;
  const queue_socket& socket_;
  queue_before before_;
};

}  // namespace troupe::detail
