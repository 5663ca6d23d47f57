// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/region.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

// How state that processes share is changed: under the region's lock, and all or nothing. Before a
// word changes, what it was goes to an undo log in the region; commit is one store, that of the
// log's length 0. A thread that gets the lock of a dead holder undoes what the log says, so a death
// at any instruction leaves the state from before or from after. What a dead process still held
// (permits, arrivals, items) is in its slot, and is given back by the kind's
// `object_rules::recover`.
//
// Waiting is bounded: a sleeping thread wakes up now and then, looks for the dead, and looks at the
// state again. A wake-up that was lost with a dying process delays a waiter, and never hangs it.
//
//   struct counter_state { shared_word value; };                     // the payload
//
//   transaction tx{object};
//   auto& state = object.state<counter_state>();
//   while (tx.get(state.value) == 0) {
//     if (!tx.wait(channel, until)) { return false; }                // the deadline passed
//   }
//   tx.set(state.value, tx.get(state.value) - 1);
//   tx.add(tx.own().counters[0], 1);                                 // the ledger: until I die
//   tx.wake(other_channel);
//   tx.commit();
namespace troupe::detail {

/// The state of a region, for this thread alone while it lives.
///
/// What was set and not committed is undone at the end. At most `undo_entries` words can be set
/// between two commits.
class transaction {
 public:
  /// Takes the lock; undoes what a dead holder left half done.
  ///
  /// @throws error{resource_exhausted} if too many processes have the object; error{protocol_error}
  ///   if its memory was damaged.
  explicit transaction(region& object);
  ~transaction();
  transaction(const transaction&) = delete;
  transaction& operator=(const transaction&) = delete;

  /// The slot of this process.
  [[nodiscard]] process_slot& own() const noexcept { return *own_; }
  [[nodiscard]] region& object() const noexcept { return object_; }

  [[nodiscard]] std::uint64_t get(const shared_word& word) const noexcept {
    return word.load(std::memory_order_relaxed);
  }
  /// Changes a word, after noting down what it was. `word` lies in the region.
  void set(shared_word& word, std::uint64_t value);
  void add(shared_word& word, std::uint64_t count) { set(word, get(word) + count); }
  void subtract(shared_word& word, std::uint64_t count) { set(word, get(word) - count); }

  /// All threads that wait on `channel` look again, once this is committed.
  void wake(std::size_t channel) noexcept { woken_ |= 1U << channel; }

  /// What was set cannot be undone any more; the lock stays.
  void commit() noexcept;

  /// Commits, sleeps without the lock until the channel is woken or for a moment, and takes the
  /// lock again. Calls may return early for no reason, so look at the state in a loop.
  ///
  /// @returns false, without having slept: the deadline passed.
  [[nodiscard]] bool wait(std::size_t channel, const deadline& until);
  /// The same for a state that other threads change without this lock: those look, after their
  /// change, whether it is waited for. `still_needed` looks at the state once the caller can be
  /// seen to wait; if it is false, this does not sleep. It does not spin either.
  template <class StillNeeded>
  [[nodiscard]] bool wait_if(StillNeeded still_needed, std::size_t channel, const deadline& until) {
    if (is_over(until)) {
      return false;
    }
    const std::uint32_t seen = will_wait(channel);
    if (still_needed()) {
      unlock();
      sleep(object_, channel, seen, until, false);
      lock();
    }
    wait_is_over(channel);
    return true;
  }
  /// Wakes the threads that wait on a channel now, without the lock.
  static void wake_now(region& object, std::size_t channel) noexcept;

  /// Undoes what was set since the last commit; the lock stays.
  void abandon();

  /// Calls `operation` without the lock, and takes it again, also if that throws. Nothing may be
  /// set and not committed.
  template <class Operation>
  void without_lock(Operation operation) {
    unlock();
    try {
      operation();
    } catch (...) {
      // Any exception goes on to the caller, which may want to change the state first.
      lock();
      throw;
    }
    lock();
  }

  /// The three parts of `wait`, for callers that have to do something between them: `will_wait`,
  /// end the transaction, `sleep`, begin another one and `wait_is_over`.
  [[nodiscard]] std::uint32_t will_wait(std::size_t channel);
  static void sleep(region& object, std::size_t channel, std::uint32_t seen, const deadline& until,
                    bool spins = true);
  void wait_is_over(std::size_t channel);

 private:
  friend class region;
  transaction(region& object, process_slot* own);
  void lock();
  void unlock() noexcept;
  void roll_back();

  region& object_;
  process_slot* own_;
  unsigned woken_ = 0;
  bool locked_ = false;
};

}  // namespace troupe::detail
