// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "caf/caf.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace troupe::detail {

/// Runs a pool's callbacks one after the other on an actor with a thread of its own. Shared with
/// that actor, because the last handle of a pool may go in a callback.
class callback_runner : public std::enable_shared_from_this<callback_runner> {
 public:
  explicit callback_runner(caf::actor_system& system) : system_{system} {}
  ~callback_runner() = default;
  callback_runner(const callback_runner&) = delete;
  callback_runner& operator=(const callback_runner&) = delete;

  void run(std::function<void()> function);
  /// Until everything handed over so far has run; at once when called from a callback.
  void wait_idle();
  /// The actor ends after what it has.
  void stop();
  /// The calling thread is one that runs callbacks.
  static bool is_here() noexcept;

 private:
  friend class callback_actor;
  void run_queued();

  caf::actor_system& system_;
  std::mutex mutex_;
  std::vector<std::function<void()>> queue_;  // guarded by mutex_
  caf::actor actor_;                          // guarded by mutex_
  bool stopped_ = false;                      // guarded by mutex_
  std::thread::id thread_;                    // guarded by mutex_
  std::atomic<std::uint32_t> unfinished_{0};
};

}  // namespace troupe::detail
