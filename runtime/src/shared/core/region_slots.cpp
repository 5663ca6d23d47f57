// SPDX-License-Identifier: BSD-3-Clause

// The slots of a region: which processes have the object, and what is given back of dead ones.

#include "troupe/detail/region.hpp"
#include "troupe/error.hpp"

#include "os/failpoint.hpp"
#include "os/process_identity.hpp"
#include "os/process_namespaces.hpp"
#include "os/sys.hpp"
#include "shared/core/block_names.hpp"
#include "shared/core/proxy.hpp"
#include "shared/core/region_memory.hpp"
#include "shared/core/region_registry.hpp"
#include "shared/core/transaction.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <string>

namespace troupe::detail {
namespace {

constexpr auto sweep_interval_ns = std::int64_t{40'000'000};

std::size_t offset_in(const region& object, const process_slot& slot) noexcept {
  return static_cast<std::size_t>(reinterpret_cast<const std::byte*>(&slot) - object.begin());
}

/// The owner of the slot, which is of another namespace, has ended.
bool has_ended_elsewhere(const region& object, const process_slot& slot) noexcept {
  if ((object.header().flags & region_named_flag) == 0) {
    return false;  // it cannot be told
  }
  // With another description than ours, which may have come from that process.
  const std::string path = "/proc/self/fd/" + std::to_string(object.number());
  const descriptor again{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  return again && !is_byte_held(again, offset_in(object, slot));
}

bool ledger_is_empty(const process_slot& slot) noexcept {
  const auto is_zero = [](const shared_word& word) { return word.load() == 0; };
  return std::all_of(slot.counters.begin(), slot.counters.end(), is_zero) &&
         std::all_of(slot.waiting.begin(), slot.waiting.end(), is_zero);
}

}  // namespace

bool is_dead(const region& object, const process_slot& slot, std::uint64_t owner) noexcept {
  return is_elsewhere(owner) ? has_ended_elsewhere(object, slot) : is_gone(owner);
}

std::span<process_slot> region::used_slots() const noexcept {
  // Untrusted, as all that other processes write.
  const std::size_t used = std::min<std::size_t>(header().slots_used.load(), region_slots);
  return std::span<process_slot>{slots()}.first(used);
}

process_slot* region::slot_of(std::uint64_t identity) noexcept {
  for (process_slot& slot : used_slots()) {
    if (slot.owner.load() == identity) {
      return &slot;
    }
  }
  return nullptr;
}

process_slot* region::claim_slot_for(std::uint64_t identity) noexcept {
  process_slot* mine = slot_of(identity);
  const auto all = slots();
  for (std::uint32_t i = 0; mine == nullptr && i < region_slots; ++i) {
    // First, so that a process that sees the owner looks at the slot, and so does one that looks
    // after this process was killed in between.
    std::atomic<std::uint32_t>& used = header().slots_used;
    for (std::uint32_t before = used.load();
         before <= i && !used.compare_exchange_weak(before, i + 1);) {
    }
    std::uint64_t none = 0;
    if (named_ && all[i].owner.load() == none) {
      hold_byte(memory_.number(), offset_in(*this, all[i]));  // before it is the owner
    }
    if (all[i].owner.compare_exchange_strong(none, identity)) {
      mine = &all[i];
    }
  }
  if (mine != nullptr) {
    mine->mapped.store(1);
  }
  return mine;
}

bool region::leave_slot_of(std::uint64_t identity) noexcept {
  process_slot* const slot = slot_of(identity);
  if (slot == nullptr) {
    return true;
  }
  slot->mapped.store(0);
  return ledger_is_empty(*slot) && slot->owner.compare_exchange_strong(identity, 0);
}

void region::end_slot_of(std::uint64_t identity) {
  if (process_slot* const slot = slot_of(identity)) {
    recover_slot(*slot, identity);
  }
}

process_slot* region::claim_slot() noexcept {
  process_slot* const mine = claim_slot_for(own_identity());
  if (mine != nullptr) {
    own_.store(mine);
    own_generation_.store(fork_generation());
  }
  return mine;
}

process_slot& region::own_slot() {
  if (this_proxy.object == this) [[unlikely]] {
    return *this_proxy.slot;
  }
  if (own_generation_.load(std::memory_order_acquire) == fork_generation()) [[likely]] {
    return *own_.load(std::memory_order_relaxed);
  }
  for (int attempt = 0; attempt < 2; ++attempt) {
    {
      const mutex_guard lock{region_registry::instance().mutex};
      if (process_slot* const mine = claim_slot()) {
        return *mine;
      }
    }
    recover_dead();
  }
  throw error{errc::resource_exhausted, task_ran::no,
              std::to_string(region_slots) + " processes have this " +
                  std::string{to_string(kind())} + " already, which is the most there can be"};
}

void region::free_slot() noexcept {
  process_slot* const mine = own_.load();
  if (mine == nullptr || own_generation_.load() != fork_generation()) {
    return;  // none, or that of the process this one was forked from
  }
  mine->mapped.store(0);
  if (named_) {
    // The last one removes the name. Of those that let go at once at least one finds no other, and
    // only such a one needs the lock, under which it looks again.
    const auto is_unused = [this] {
      const auto all = used_slots();
      return std::none_of(all.begin(), all.end(), [this](const process_slot& slot) {
        const std::uint64_t owner = slot.owner.load();
        return slot.mapped.load() != 0 && owner != 0 && !is_dead(*this, slot, owner);
      });
    };
    TROUPE_FAILPOINT("blocks.let_go");
    if (is_unused()) {
      remove_block_name(spec_.name, memory_, is_unused);
    }
  }
  if (ledger_is_empty(*mine)) {
    std::uint64_t me = own_identity();
    mine->owner.compare_exchange_strong(me, 0);
  }
}

void region::recover_slot(process_slot& slot, std::uint64_t dead) {
  if (rules().recover != nullptr) {
    transaction tx{*this, &slot};
    if (slot.owner.load() != dead) {
      return;  // another process was faster
    }
    for (std::size_t i = 0; i < wait_channels; ++i) {
      if (const std::uint64_t asleep = tx.get(slot.waiting[i]); asleep != 0) {
        shared_word& waiters = header().channels[i].waiters;
        tx.set(waiters, tx.get(waiters) - std::min(asleep, tx.get(waiters)));
        tx.set(slot.waiting[i], 0);
      }
      tx.wake(i);
    }
    rules().recover(tx, slot);
    tx.commit();
    slot.mapped.store(0);
    slot.owner.compare_exchange_strong(dead, 0);
  } else {
    for (shared_word& waiting : slot.waiting) {
      waiting.store(0);
    }
    slot.mapped.store(0);
    slot.owner.compare_exchange_strong(dead, 0);
  }
}

std::size_t region::recover_dead() {
  ended_processes known;
  return recover_dead(known);
}

std::size_t region::recover_dead(ended_processes& known) {
  const std::uint64_t me = own_identity();
  std::size_t found = 0;
  for (process_slot& slot : used_slots()) {
    const std::uint64_t owner = slot.owner.load();
    if (owner == 0 || owner == me) {
      continue;
    }
    if (is_elsewhere(owner) ? has_ended_elsewhere(*this, slot) : known.have(owner)) {
      recover_slot(slot, owner);
      ++found;
    }
  }
  return found;
}

void region::sweep() {
  shared_word& last = header().last_sweep;
  std::uint64_t before = last.load();
  const auto now = static_cast<std::uint64_t>(sys::monotonic_ns());
  if (now - before < static_cast<std::uint64_t>(sweep_interval_ns) ||
      !last.compare_exchange_strong(before, now)) {
    return;
  }
  recover_dead();
}

}  // namespace troupe::detail
