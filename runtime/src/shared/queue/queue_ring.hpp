// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/queue_core.hpp"
#include "troupe/detail/region.hpp"

#include "shared/core/transaction.hpp"
#include "shared/queue/queue_state.hpp"
#include "shared/queue/queue_storage.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

// The short ways of a queue (not of a stack or a heap). Who puts has the region's lock and writes one
// side of the state, who takes has the second lock and writes the other; `tail` gives items over, and
// `head` and `taken` their room. So between a process that puts and one that takes no lock goes back
// and forth, and no word as long as there are items and room.
//
// What changes with an item is in a log before: a process that dies before the log is valid has
// changed nothing, and what one that dies later has not written, the next one writes that gets the
// same lock. So `tail` and `taken` never go back, and what the other side has seen of them stays
// true.
//
// Whatever is more than that (a larger area, items with shared objects, waiting, `join`) has both
// locks (queue_operation.hpp) and uses the undo log; `both_sides` is set meanwhile. Who finds it
// set has got the second lock of a dead process, and gets the other lock first, whose next holder
// undoes what the log says.
namespace troupe::detail {

/// Makes the item whole that a dead process had put, if there is one. With the region's lock.
void finish_put(queue_state& state);

/// The second lock of a queue, and items that are taken with it alone.
class queue_readers {
 public:
  /// Takes it. `own` is the slot of this process.
  ///
  /// @throws error{protocol_error} if the memory was damaged.
  queue_readers(region& object, process_slot& own);
  ~queue_readers() { unlock(); }
  queue_readers(const queue_readers&) = delete;
  queue_readers& operator=(const queue_readers&) = delete;

  void lock();
  void unlock() noexcept;
  [[nodiscard]] bool is_locked() const noexcept { return locked_; }
  /// A process died with both locks: get both.
  [[nodiscard]] bool is_interrupted() const {
    return state_.both_sides.load(std::memory_order_relaxed) != 0;
  }

  enum class answer : std::uint8_t { taken, empty, needs_both };
  /// Takes one item out. What needs more than this lock is not done.
  [[nodiscard]] answer take(queue_storage& storage, queue_item& to);
  /// One item that was taken is done.
  ///
  /// @throws std::logic_error if all that were taken are done already.
  void finish_one();

 private:
  void finish_take();
  void commit(std::uint64_t head, std::uint64_t taken, std::uint64_t done, std::uint64_t counter);

  region& object_;
  queue_state& state_;
  process_slot& own_;
  bool locked_ = false;
};

/// The region's lock of a queue, and items that are put with it alone.
class queue_writer {
 public:
  explicit queue_writer(region& object);
  ~queue_writer();
  queue_writer(const queue_writer&) = delete;
  queue_writer& operator=(const queue_writer&) = delete;

  enum class answer : std::uint8_t { put, full, needs_both };
  [[nodiscard]] answer put(queue_storage& storage, const queue_item& item);

 private:
  void unlock() noexcept;

  region& object_;
  queue_state& state_;
  object_kind kind_;
  bool is_locked_ = false;         ///< by this object itself
  bool wakes_ = false;             ///< who waits for items, once it is unlocked
  std::optional<transaction> tx_;  ///< has the lock instead, where there was more to do for it
};

/// Looks again and again, for a moment, whether there is an item, or room for some. False: it is
/// time to sleep. Without a lock.
[[nodiscard]] bool spin_for_items(const queue_state& state);
[[nodiscard]] bool spin_for_room(const queue_state& state);

/// Wakes those that wait on a channel of a queue, if there are some. The caller has written what
/// they wait for with a lock, and released that.
void wake_awaited(region& object, queue_state& state, std::size_t channel) noexcept;

[[noreturn]] void fail_all_done();

}  // namespace troupe::detail
