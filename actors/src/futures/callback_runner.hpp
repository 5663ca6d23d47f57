// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/thread_safety.hpp"
#include "os/library_thread.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::detail {

/// The threads of several callback runners, for the code that has to wait until all have ended.
class callback_threads {
 public:
  void add() noexcept { running_.fetch_add(1); }
  void remove() noexcept;
  /// @blocks until each thread has run the callbacks it had when its runner was stopped.
  void wait_until_none() const noexcept;

 private:
  std::atomic<std::uint32_t> running_{0};
};

/// Runs a pool's callbacks one after the other on a thread of its own, so that one that blocks
/// holds up no results. The thread is started for the first callback, and has a share in the
/// runner, because the last handle of a pool may go in a callback.
class callback_runner : public std::enable_shared_from_this<callback_runner> {
 public:
  /// `counted_in` may be null: nothing waits for the end of the thread.
  explicit callback_runner(std::shared_ptr<callback_threads> counted_in = nullptr)
      : counted_in_{std::move(counted_in)} {}
  ~callback_runner() = default;
  callback_runner(const callback_runner&) = delete;
  callback_runner& operator=(const callback_runner&) = delete;

  /// An empty function only starts the thread, so that no later call can fail for want of one.
  ///
  /// @throws error{resource_exhausted} if no thread can be started; pool_closed after `stop`.
  void run(std::function<void()> function);
  /// Until everything handed over so far has run; at once when called from a callback.
  void wait_idle();
  /// From now on the thread ends whenever it has nothing to do, and starts anew for what comes.
  void retire();
  /// The thread ends after what it has; what comes later is refused.
  void stop();
  /// The calling thread is one that runs callbacks.
  static bool is_here() noexcept;

 private:
  void work();
  /// @throws error{resource_exhausted}.
  void start() TROUPE_REQUIRES(mutex_);
  /// Sleeps while there is nothing to do; empty: the runner was retired or stopped.
  std::vector<std::function<void()>> next();

  const std::shared_ptr<callback_threads> counted_in_;
  wake_flag flag_;
  guarded_mutex mutex_;
  std::vector<std::function<void()>> queue_ TROUPE_GUARDED_BY(mutex_);
  bool started_ TROUPE_GUARDED_BY(mutex_) = false;
  bool retired_ TROUPE_GUARDED_BY(mutex_) = false;
  bool stopped_ TROUPE_GUARDED_BY(mutex_) = false;
  std::thread::id thread_ TROUPE_GUARDED_BY(mutex_);
  std::atomic<std::uint32_t> unfinished_{0};
};

}  // namespace troupe::detail
