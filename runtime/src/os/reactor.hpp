// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/descriptor.hpp"

#include "base/thread_safety.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

namespace troupe::detail {

/// One thread that waits for descriptors, times and posted functions, and calls back.
///
/// @threads any thread may call any member; callbacks run on the reactor's thread, one at a time,
///   and must not throw. All signals are blocked there.
class reactor {
 public:
  using time_point = std::chrono::steady_clock::time_point;

  /// Starts the thread.
  ///
  /// @throws error{resource_exhausted}.
  reactor();
  /// Stops and joins the thread; callbacks not yet run are dropped.
  ~reactor();
  reactor(const reactor&) = delete;
  reactor& operator=(const reactor&) = delete;

  /// Calls `ready` when something has arrived at `fd`, until `forget(fd)`: at least once after each
  /// arrival, not again and again for what was left unread.
  using watcher = std::function<void()>;
  void watch(int fd, watcher ready);
  /// No call of that watcher begins after this returns on the reactor's thread; from another thread
  /// one may still be running.
  void forget(int fd);
  /// Calls `function` soon, after what was posted before.
  void post(std::function<void()> function);
  /// Calls `function` at `when` or soon after; returns the timer's number.
  std::uint64_t call_at(time_point when, std::function<void()> function);
  void cancel(std::uint64_t timer);
  [[nodiscard]] bool in_thread() const noexcept;
  /// The calling thread is that of a reactor of this process.
  [[nodiscard]] static bool is_here() noexcept;

 private:
  void run();
  void wake() TROUPE_REQUIRES(mutex_);

  struct timer {
    std::uint64_t id;
    std::function<void()> function;
  };

  descriptor epoll_;
  descriptor wake_;
  std::atomic<bool> stop_{false};
  guarded_mutex mutex_;
  std::vector<std::function<void()>> posted_ TROUPE_GUARDED_BY(mutex_);
  std::multimap<time_point, timer> timers_ TROUPE_GUARDED_BY(mutex_);
  std::unordered_map<int, std::shared_ptr<watcher>> watchers_ TROUPE_GUARDED_BY(mutex_);
  std::uint64_t next_timer_ TROUPE_GUARDED_BY(mutex_) = 1;
  bool woken_ TROUPE_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace troupe::detail
