// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <mutex>
#include <thread>

namespace troupe::detail {

/// Lets one thread at a time pull the input of a map: the one that reads the results, or the one
/// that ends the executor. Pulling runs code of the user, which may come back on the same thread.
class pull_turn {
 public:
  void lock() {
    mutex_.lock();
    owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  }
  bool try_lock() {
    if (!mutex_.try_lock()) {
      return false;
    }
    owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    return true;
  }
  void unlock() {
    owner_.store(std::thread::id{}, std::memory_order_relaxed);
    mutex_.unlock();
  }
  /// The calling thread has it.
  [[nodiscard]] bool is_mine() const noexcept {
    // Relaxed: only this thread's own store can make it true.
    return owner_.load(std::memory_order_relaxed) == std::this_thread::get_id();
  }

 private:
  std::mutex mutex_;
  std::atomic<std::thread::id> owner_{};
};

}  // namespace troupe::detail
