// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/queue_core.hpp"
#include "troupe/detail/region.hpp"

#include "shared/core/transaction.hpp"
#include "shared/queue/queue_socket.hpp"
#include "shared/queue/queue_state.hpp"
#include "shared/queue/queue_storage.hpp"

#include <cstddef>
#include <cstdint>

namespace troupe::detail {

inline constexpr std::uint64_t record_alignment = 16;

/// Before each item's bytes in the storage, which the ids of its shared objects follow. A
/// lifo_queue's has its own size behind it too.
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
/// storage (queue_operation.cpp), the shared objects they refer to (queue_objects.cpp), and the
/// order of a priority_queue's (queue_heap.cpp).
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
    finish_counting();
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
    undo_heap();  // of a process that died meanwhile
    check_state();
    finish_counting();
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
  [[nodiscard]] std::uint64_t record_bytes(const item_record& of) const {
    return record_bytes(of.bytes + of.descriptors * sizeof(std::uint64_t));
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
  void make_room(std::uint64_t bytes, std::uint64_t objects);
  void move_to(std::uint64_t least_records, std::uint64_t index_room);

  // Positions count from where the records begin, and wrap.
  void copy_in(const span_of_area& to, std::uint64_t position, const void* from,
               std::uint64_t bytes);
  void copy_out(const span_of_area& from, std::uint64_t position, void* to, std::uint64_t bytes);
  [[nodiscard]] item_record read_record(const span_of_area& in, std::uint64_t position) {
    item_record found;
    copy_out(in, position, &found, sizeof found);
    check_intact(found.bytes <= records_room(in) &&
                 found.descriptors <= queue_socket::most_descriptors &&
                 record_bytes(found) <= records_room(in));
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

  // The objects that the items of a queue or a stack refer to.
  using id_list = queue_socket::id_list;
  [[nodiscard]] id_list read_ids(const span_of_area& in, std::uint64_t position,
                                 const item_record& header);
  /// Makes the table anew if a process died while it changed it.
  void finish_counting() {
    if (get(state.objects_changing) != 0) [[unlikely]] {
      count_objects();
    }
  }
  void count_objects();
  [[nodiscard]] std::uint64_t table_slots() const;
  [[nodiscard]] std::uint64_t find_object(std::uint64_t id);
  [[nodiscard]] bool is_needed(std::uint64_t id);
  void add_reference(std::uint64_t id);
  void remove_reference(std::uint64_t id);
  /// Between the two the table may change, and does not count if this process dies. The second one
  /// is for the caller to commit.
  void begin_counting();
  void end_counting();
  /// Counts the references of a new item, and sends what is not there yet.
  void keep_objects(const attachment_list& what, const id_list& ids);
  /// Those of an item that is gone.
  void release_objects(const id_list& ids);
  void drop_unneeded();
  void tidy_socket();

  // The heap of a priority_queue.
  void undo_heap();
  void begin_journal();
  [[nodiscard]] shared_word& index_word(std::uint64_t index);
  void set_heap(std::uint64_t index, std::uint64_t position);
  [[nodiscard]] bool is_before(std::uint64_t a, std::uint64_t b);
  void sift_up(std::uint64_t hole, std::uint64_t position);
  void sift_down(std::uint64_t count, std::uint64_t position);

  object_kind kind_;
  queue_storage& storage_;
  const queue_socket& socket_;
  queue_before before_;
  std::uint64_t objects_ = 0;  ///< in the table, while it is being changed
};

}  // namespace troupe::detail
