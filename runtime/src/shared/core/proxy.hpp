// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>

// What a proxy is: a thread here that does to objects what a thread on another machine asked for.
namespace troupe::detail {

class region;
struct process_slot;

/// In a proxy, during an operation: the object's ledger has a line for the whole session, as it
/// has one for each process of this machine.
struct proxy_place {
  const region* object = nullptr;
  process_slot* slot = nullptr;
};
inline constinit thread_local proxy_place this_proxy;

/// In a proxy: its session, or the thread it stands for, is over.
inline constinit thread_local const std::atomic<bool>* this_proxy_dismissed = nullptr;

/// Not for `catch (const std::exception&)`. What it leaves half done is what a death leaves.
struct proxy_dismissed {};

/// For wait loops, whenever they look again: throws out of a proxy that has to go.
inline void leave_if_dismissed() {
  if (this_proxy_dismissed != nullptr && this_proxy_dismissed->load(std::memory_order_relaxed))
      [[unlikely]] {
    throw proxy_dismissed{};
  }
}

}  // namespace troupe::detail
