// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/condition.hpp"

#include "troupe/error.hpp"

#include "shared/core/kind_rules.hpp"
#include "shared/core/object_lock.hpp"
#include "shared/core/transaction.hpp"
#include "shared/sync/condition_operations.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace troupe {
namespace detail {
namespace {

constexpr std::size_t most_waiters = 1000;
constexpr std::size_t notified = 0;    // the channel
constexpr std::size_t cells_used = 0;  // the counter: cells of this process

/// One waiting thread.
struct waiter_cell {
  shared_word ticket;  ///< 0: free
  shared_word slot;    ///< the index of its process's slot
};

// Every waiter draws a ticket. A waiter with one below `notified_below` is notified: so to notify
// any number of waiters is to write one word, and the one that waits longest is the first. A waiter
// leaves its cell when it has its mutex again; until then its notification can be passed on.
struct condition_state {
  shared_word next;            ///< the next ticket, less one: begins at 0
  shared_word notified_below;  ///< less one, too
  shared_word eligible_below;  ///< `next` at the last notification: later waiters get none of it
  shared_word used;            ///< cells beyond this many are free
  std::array<waiter_cell, most_waiters> cells;
};

bool is_notified(const transaction& tx, const condition_state& state, std::uint64_t ticket) {
  return ticket <= tx.get(state.notified_below);
}

std::span<waiter_cell> used_cells(const transaction& tx, condition_state& state) {
  return std::span{state.cells}.first(
      static_cast<std::size_t>(std::min<std::uint64_t>(tx.get(state.used), most_waiters)));
}

/// Notifies the `count` waiters that wait longest of those with tickets up to `last`.
void notify_oldest(transaction& tx, condition_state& state, std::uint64_t count,
                   std::uint64_t last) {
  std::array<std::uint64_t, most_waiters> tickets;  // NOLINT: written below as far as it is read
  std::size_t found = 0;
  for (const waiter_cell& cell : used_cells(tx, state)) {
    const std::uint64_t ticket = tx.get(cell.ticket);
    if (ticket != 0 && ticket <= last && !is_notified(tx, state, ticket)) {
      tickets[found++] = ticket;
    }
  }
  if (found == 0 || count == 0) {
    return;
  }
  const std::size_t chosen = std::min<std::size_t>(found, static_cast<std::size_t>(count)) - 1;
  std::nth_element(tickets.begin(), tickets.begin() + static_cast<std::ptrdiff_t>(chosen),
                   tickets.begin() + static_cast<std::ptrdiff_t>(found));
  tx.set(state.notified_below, tickets[chosen]);
  tx.wake(notified);
}

void leave(transaction& tx, condition_state& state, waiter_cell& cell, process_slot& slot) {
  tx.set(cell.ticket, 0);
  tx.set(slot.counters[cells_used], tx.get(slot.counters[cells_used]) - 1);
  std::uint64_t used = std::min<std::uint64_t>(tx.get(state.used), most_waiters);
  while (used != 0 && tx.get(state.cells[used - 1].ticket) == 0) {
    --used;
  }
  tx.set(state.used, used);
}

void withdraw(transaction& tx, process_slot& dead) {
  auto& state = tx.object().state<condition_state>();
  const auto index = static_cast<std::uint64_t>(&dead - tx.object().slots().data());
  // One cell at a time, each in a transaction of its own: there may be more than the log can hold.
  for (waiter_cell& cell : used_cells(tx, state)) {
    const std::uint64_t ticket = tx.get(cell.ticket);
    if (ticket == 0 || tx.get(cell.slot) != index) {
      continue;
    }
    const bool passes_on = is_notified(tx, state, ticket);
    leave(tx, state, cell, dead);
    if (passes_on) {
      notify_oldest(tx, state, 1, tx.get(state.eligible_below));
    }
    tx.commit();
  }
  tx.set(dead.counters[cells_used], 0);
}

region_spec spec_for(const object_options& options) {
  return {
      .rules = &condition_rules, .name = options.name, .payload_bytes = sizeof(condition_state)};
}

/// What a wait does with the mutex.
class released_mutex {
 public:
  explicit released_mutex(region& mutex) : object_{mutex} {
    object_.ensure();
    if (!owned_by_caller(object_.lock())) {
      throw_not_locked("troupe: a condition waits with a mutex that this thread has not locked");
    }
  }
  void unlock() noexcept {
    depth_ = object_.lock().depth.exchange(0, std::memory_order_relaxed);
    static_cast<void>(release(object_.lock()));
  }
  void lock() {
    static_cast<void>(acquire_object(object_, std::nullopt));
    object_.lock().depth.store(depth_, std::memory_order_relaxed);
  }

 private:
  region& object_;
  std::uint32_t depth_ = 0;
};

class local_condition final : public condition_operations {
 public:
  bool wait(region& object, region& mutex, const deadline& until) const override;
  void notify(region& object, std::ptrdiff_t count) const override {
    transaction tx{object};
    auto& state = tx.object().state<condition_state>();
    tx.set(state.eligible_below, tx.get(state.next));
    notify_oldest(tx, state, static_cast<std::uint64_t>(count), tx.get(state.next));
    tx.commit();
  }
  std::size_t waiting(region& object) const override {
    transaction tx{object};
    auto& state = tx.object().state<condition_state>();
    std::size_t found = 0;
    for (const waiter_cell& cell : used_cells(tx, state)) {
      const std::uint64_t ticket = tx.get(cell.ticket);
      found += ticket != 0 && !is_notified(tx, state, ticket) ? 1 : 0;
    }
    return found;
  }
};

bool local_condition::wait(region& object, region& mutex, const deadline& until) const {
  auto& state = object.state<condition_state>();
  released_mutex released{mutex};
  std::uint64_t ticket = 0;
  waiter_cell* cell = nullptr;
  std::uint32_t seen = 0;
  {
    transaction tx{object};
    cell = std::ranges::find_if(state.cells,
                                [&](const waiter_cell& one) { return tx.get(one.ticket) == 0; });
    if (cell == state.cells.end()) {
      throw error{errc::resource_exhausted, task_ran::no,
                  std::to_string(most_waiters) +
                      " threads wait for this condition already, which is the most there can be"};
    }
    ticket = tx.get(state.next) + 1;
    tx.set(state.next, ticket);
    tx.set(cell->ticket, ticket);
    tx.set(cell->slot, static_cast<std::uint64_t>(&tx.own() - object.slots().data()));
    tx.add(tx.own().counters[cells_used], 1);
    const auto used = static_cast<std::uint64_t>(cell - state.cells.data()) + 1;
    tx.set(state.used, std::max(tx.get(state.used), used));
    seen = tx.will_wait(notified);
  }
  // Tickets are drawn in order and never given twice. Without the lock this is a hint: the
  // process that writes the word may die before it is committed.
  const auto seems_notified = [&] { return ticket <= state.notified_below.load(); };
  for (;;) {
    released.unlock();
    while (!seems_notified() && !is_over(until)) {
      transaction::sleep(object, notified, seen, until);
      seen = object.header().channels[notified].generation.load();
    }
    // First the mutex, then the cell: a waiter that dies on the way to the mutex has not used its
    // notification, and it is passed on.
    released.lock();
    transaction tx{object};
    const bool in_time = is_notified(tx, state, ticket);
    if (in_time || is_over(until)) {
      tx.wait_is_over(notified);
      leave(tx, state, *cell, tx.own());
      tx.commit();
      return in_time;
    }
  }
}

const object_operations& local_operations() noexcept {
  static constexpr local_condition one;
  return one;
}

}  // namespace

constexpr object_rules condition_rules{.kind = object_kind::condition,
                                       .min_payload_bytes = sizeof(condition_state),
                                       .recover = &withdraw,
                                       .local = &local_operations};

}  // namespace detail

condition::condition() : object_handle{detail::region::create_default(detail::spec_for({}))} {}
condition::condition(const object_options& options)
    : object_handle{detail::region::create(detail::spec_for(options))} {}

void condition::load(input_archive& ar) {
  load_handle(ar, detail::condition_rules);
}

void condition::check_owns(bool owns) {
  if (!owns) {
    detail::throw_not_locked("troupe: a condition waits with a std::unique_lock that owns no lock");
  }
}

bool condition::wait_within(const detail::lock_handle& with, const detail::deadline& until) const {
  return operations<detail::condition_operations>().wait(object(), with.object(), until);
}

void condition::notify(std::ptrdiff_t count) const {
  if (count < 0) {
    throw std::invalid_argument{"troupe: notify(" + std::to_string(count) +
                                ") of a condition: the number is negative"};
  }
  operations<detail::condition_operations>().notify(object(), count);
}

void condition::notify_all() const {
  notify(std::numeric_limits<std::ptrdiff_t>::max());
}

std::size_t condition::waiting() const {
  return operations<detail::condition_operations>().waiting(object());
}

}  // namespace troupe
