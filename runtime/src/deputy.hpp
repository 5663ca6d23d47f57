// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>

// What a deputy is: a thread here that does to objects what a thread on another machine asked for.
namespace troupe::detail {

class region;
struct process_slot;

/// In a deputy, during an operation: the object's ledger has a line for the whole session, as it
/// has one for each process of this machine.
struct deputy_line {
  const region* object = nullptr;
  process_slot* slot = nullptr;
};
inline constinit thread_local deputy_line this_deputy;

/// In a deputy: its session, or the thread it stands for, is over.
inline constinit thread_local const std::atomic<bool>* this_deputy_dismissed = nullptr;

/// Not for `catch (const std::exception&)`. What it leaves half done is what a death leaves.
struct deputy_dismissed {};

/// For wait loops, whenever they look again: throws out of a deputy that has to go.
inline void leave_if_dismissed() {
  if (this_deputy_dismissed != nullptr && this_deputy_dismissed->load(std::memory_order_relaxed))
      [[unlikely]] {
    throw deputy_dismissed{};
  }
}

}  // namespace troupe::detail
