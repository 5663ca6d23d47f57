// SPDX-License-Identifier: BSD-3-Clause
#include "shared/core/transaction.hpp"

#include "troupe/error.hpp"

#include "os/adaptive_spin.hpp"
#include "shared/core/crash_step.hpp"
#include "shared/core/proxy.hpp"
#include "shared/core/robust_lock_fast.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace troupe::detail {

#if defined(TROUPE_FAILPOINTS) && TROUPE_FAILPOINTS
std::atomic<void (*)()> crash_hook{nullptr};
#endif

namespace {

using namespace std::chrono_literals;

/// How long a waiter sleeps before it looks for itself.
constexpr auto slice = 50ms;

}  // namespace

transaction::transaction(region& object) : transaction{object, &object.own_slot()} {}

transaction::transaction(region& object, process_slot* own) : object_{object}, own_{own} {
  lock();
}

transaction::~transaction() {
  abandon();
  if (locked_) {
    unlock();
  }
}

void transaction::abandon() {
  if (locked_ && object_.header().undo_size.load(std::memory_order_relaxed) != 0) {
    roll_back();
    woken_ = 0;
  }
}

void transaction::lock() {
  lock_result result = try_acquire_fast(object_.lock());
  if (result == lock_result::busy) {
    result = acquire(object_.lock());
  }
  if (result == lock_result::own) {
    throw error{errc::would_deadlock, task_ran::no,
                "an operation on a shared object was begun from within another one of the same "
                "object and thread"};
  }
  locked_ = true;
  // Also without a dead holder: it may have died while it rolled back, before or after it was
  // told so.
  if (object_.header().undo_size.load(std::memory_order_relaxed) != 0) {
    roll_back();
    woken_ = (1U << wait_channels) - 1;
  }
  if (result == lock_result::inherited) {
    object_.lock().inherited.store(0, std::memory_order_relaxed);
  }
  crash_step();
}

void transaction::roll_back() {
  region_header& header = object_.header();
  const std::uint32_t size = header.undo_size.load(std::memory_order_relaxed);
  // The lock and the log come before what can be set.
  constexpr std::uint64_t first = offsetof(region_header, channels);
  const std::uint64_t last = object_.total_bytes() - sizeof(shared_word);
  for (std::uint32_t i = std::min<std::uint32_t>(size, undo_entries); i-- > 0;) {
    const std::uint64_t offset = header.undo[i].offset.load(std::memory_order_relaxed);
    if (offset < first || offset > last || offset % alignof(shared_word) != 0) {
      continue;  // no operation writes that: the memory was damaged, and is not followed
    }
    crash_step();
    reinterpret_cast<shared_word*>(object_.begin() + offset)
        ->store(header.undo[i].value.load(std::memory_order_relaxed), std::memory_order_release);
  }
  crash_step();
  // Release: the words are as they were before the log is empty.
  header.undo_size.store(0, std::memory_order_release);
  crash_step();
}

void transaction::set(shared_word& word, std::uint64_t value) {
  region_header& header = object_.header();
  const std::uint32_t size = header.undo_size.load(std::memory_order_relaxed);
  if (size >= undo_entries) [[unlikely]] {
    // Or an operation of ours changes more words than the log can hold: then its tests fail.
    throw error{errc::protocol_error, task_ran::maybe,
                "the memory of a shared object was damaged: its undo log says it is full"};
  }
  undo_entry& entry = header.undo[size];
  crash_step();
  entry.offset.store(
      static_cast<std::uint64_t>(reinterpret_cast<std::byte*>(&word) - object_.begin()),
      std::memory_order_relaxed);
  entry.value.store(word.load(std::memory_order_relaxed), std::memory_order_relaxed);
  crash_step();
  // Release: the entry is whole when it counts, and counts before the word changes.
  header.undo_size.store(size + 1, std::memory_order_release);
  crash_step();
  word.store(value, std::memory_order_release);
  crash_step();
}

void transaction::commit() noexcept {
  object_.header().undo_size.store(0, std::memory_order_release);
  crash_step();
}

void transaction::unlock() noexcept {
  region_header& header = object_.header();
  if (woken_ == 0) {
    locked_ = false;
    release_owned(object_.lock());
    crash_step();
    return;
  }
  unsigned wakes = 0;
  for (std::size_t i = 0; i < wait_channels; ++i) {
    // Looked at under the lock, where waiters count themselves: a waiter that is not counted has
    // not looked at the state either.
    if ((woken_ >> i & 1U) != 0 && get(header.channels[i].waiters) != 0) {
      header.channels[i].generation.fetch_add(1);
      wakes |= 1U << i;
      crash_step();
    }
  }
  woken_ = 0;
  locked_ = false;
  release_owned(object_.lock());
  crash_step();
  for (std::size_t i = 0; i < wait_channels; ++i) {
    if ((wakes >> i & 1U) != 0) {
      futex_wake_all(header.channels[i].generation, true);
      crash_step();
    }
  }
}

void transaction::wake_now(region& object, std::size_t channel) noexcept {
  wait_channel& in = object.header().channels[channel];
  in.generation.fetch_add(1);
  crash_step();
  futex_wake_all(in.generation, true);
}

std::uint32_t transaction::will_wait(std::size_t channel) {
  wait_channel& in = object_.header().channels[channel];
  add(own_->waiting[channel], 1);
  add(in.waiters, 1);
  commit();
  return in.generation.load();
}

void transaction::wait_is_over(std::size_t channel) {
  wait_channel& in = object_.header().channels[channel];
  subtract(own_->waiting[channel], 1);
  subtract(in.waiters, 1);
  commit();
}

void transaction::sleep(region& object, std::size_t channel, std::uint32_t seen,
                        const deadline& until, bool spins) {
  const std::atomic<std::uint32_t>& word = object.header().channels[channel].generation;
  constinit thread_local adaptive_spin spin;
  if (spins && spin([&] { return word.load(std::memory_order_acquire) != seen; })) {
    return;
  }
  auto end = std::chrono::steady_clock::now() + slice;
  const bool whole = !until || end < *until;
  if (!whole) {
    end = *until;
  }
  crash_step();
  if (!futex_wait(word, seen, end, true) && whole) {
    object.sweep();
  }
  leave_if_dismissed();
}

bool transaction::wait(std::size_t channel, const deadline& until) {
  if (is_over(until)) {
    return false;
  }
  const std::uint32_t seen = will_wait(channel);
  unlock();
  sleep(object_, channel, seen, until);
  lock();
  wait_is_over(channel);
  return true;
}

}  // namespace troupe::detail
