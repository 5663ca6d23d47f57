// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/thread_safety.hpp"
#include "os/library_thread.hpp"

#include <atomic>
#include <cstdint>
#include <functional>

namespace troupe::detail {

/// Wakes one worker, whether it sleeps at the flag or in the loop of its coroutines. Shared, so
/// that a thread may ring it after that worker has gone.
///
/// @threads `wake` any; the others the worker's own.
class worker_bell {
 public:
  [[nodiscard]] std::uint32_t look() const noexcept { return flag_.look(); }
  void sleep(std::uint32_t seen, const deadline& until = std::nullopt) noexcept {
    flag_.sleep(seen, until);
  }
  void wake() noexcept;
  /// `poke` ends the worker's sleep in its loop of coroutines; empty: the worker has no loop.
  void set_poke(std::function<void()> poke);

 private:
  wake_flag flag_;
  std::atomic<bool> has_poke_{false};
  guarded_mutex mutex_;
  std::function<void()> poke_ TROUPE_GUARDED_BY(mutex_);
};

}  // namespace troupe::detail
