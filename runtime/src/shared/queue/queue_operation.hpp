// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/queue_core.hpp"
#include "troupe/detail/region.hpp"

#include "shared/core/transaction.hpp"
#include "shared/queue/queue_records.hpp"
#include "shared/queue/queue_ring.hpp"
#include "shared/queue/queue_socket.hpp"
#include "shared/queue/queue_state.hpp"
#include "shared/queue/queue_storage.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace troupe::detail {

/// What one operation of a queue does with the lock held, of a `queue` with both locks: how it reads and changes the items in the
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
    begin();
  }
  ~queue_operation() {
    tx.abandon();
    leave_readers();
  }
  queue_operation(const queue_operation&) = delete;
  queue_operation& operator=(const queue_operation&) = delete;

  /// Leaves nothing to be committed when it fails.
  void store(const queue_item& item);
  /// Takes the next item out; false if it was lost, and there may be another one.
  bool take(queue_item& to);
  /// An empty queue's, if it is much.
  void give_memory_back() noexcept;
  /// Waits on a channel; false once the time is over.
  [[nodiscard]] bool wait(std::size_t channel, const deadline& until);
  [[nodiscard]] std::uint64_t count() const { return get(state.put) - get(state.taken); }
  [[nodiscard]] std::uint64_t unfinished() const { return get(state.put) - get(state.done); }

  transaction tx;
  queue_state& state;

 private:
  [[nodiscard]] std::uint64_t get(const shared_word& word) const { return tx.get(word); }
  [[nodiscard]] record_area area() const { return record_area::of(state); }
  [[nodiscard]] std::uint64_t record_bytes(std::uint64_t payload) const {
    return detail::record_bytes(kind_, payload);
  }
  [[nodiscard]] std::uint64_t record_bytes(const item_record& of) const {
    return detail::record_bytes(kind_, of);
  }
  [[nodiscard]] std::uint64_t live_bytes() const;
  /// Throws error{protocol_error} if the words of the state contradict each other: what they say
  /// would be waited for, or allocated.
  void check_state() const;
  /// Takes what is locked besides, and finishes what dead processes left half done.
  void begin();
  void leave_readers() noexcept;
  /// An empty queue's records begin anew, in memory that is still in the caches.
  void begin_anew();
  void make_room(std::uint64_t bytes, std::uint64_t objects);
  void move_to(std::uint64_t least_records, std::uint64_t index_room);

  void copy_in(const record_area& to, std::uint64_t position, const void* from,
               std::uint64_t bytes) {
    detail::copy_in(storage_, to, position, from, bytes);
  }
  void copy_out(const record_area& from, std::uint64_t position, void* to, std::uint64_t bytes) {
    detail::copy_out(storage_, from, position, to, bytes);
  }
  [[nodiscard]] item_record read_record(const record_area& in, std::uint64_t position) {
    return detail::read_record(storage_, in, kind_, position);
  }
  /// Of a lifo_queue, the one that ends at `end`.
  [[nodiscard]] std::uint64_t last_record(const record_area& in, std::uint64_t end) {
    std::uint64_t bytes = 0;
    check_intact(end >= record_alignment);
    copy_out(in, end - record_alignment, &bytes, sizeof bytes);
    check_intact(bytes >= sizeof(item_record) + record_alignment && bytes <= end &&
                 bytes % record_alignment == 0);
    return end - bytes;
  }

  // The objects that the items of a queue or a stack refer to.
  using id_list = queue_socket::id_list;
  [[nodiscard]] id_list read_ids(const record_area& in, std::uint64_t position,
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
  std::optional<queue_readers> readers_;  ///< of a queue
  queue_storage& storage_;
  const queue_socket& socket_;
  queue_before before_;
  std::uint64_t objects_ = 0;  ///< in the table, while it is being changed
};

}  // namespace troupe::detail
