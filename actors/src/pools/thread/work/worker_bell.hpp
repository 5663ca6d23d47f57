// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/thread_safety.hpp"
#include "os/library_thread.hpp"

#include <atomic>
#include <cstdint>
#include <functional>

namespace troupe::detail {

/// Wakes a worker, wherever it sleeps; shared, so that it is safe after that worker has gone.
class worker_bell {
 public:
  [[nodiscard]] std::uint32_t look() const noexcept { return flag_.look(); }
  void sleep(std::uint32_t seen, const deadline& until = std::nullopt) noexcept {
    flag_.sleep(seen, until);
  }
  void wake() noexcept;
  /// From now on the worker may also sleep in a loop of coroutines, which this ends; null: no more.
  void set_poke(std::function<void()> poke);

 private:
  wake_flag flag_;
  std::atomic<bool> has_poke_{false};
  guarded_mutex mutex_;
  std::function<void()> poke_ TROUPE_GUARDED_BY(mutex_);
};

}  // namespace troupe::detail
