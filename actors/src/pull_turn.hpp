// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

namespace troupe::detail {

/// Until when a thread that pulls the rest of an input waits for room in one turn: a reader of
/// results gets the next turn, and may be the one that makes room.
inline deadline end_of_turn(const deadline& until) {
  const deadline end = deadline_after(std::chrono::milliseconds{10});
  return until && *until < *end ? until : end;
}

/// Lets one thread at a time pull the input of a map: the one that reads the results, or the one
/// that ends the executor. Pulling runs code of the user, which may come back on the same thread.
class pull_turn {
 public:
  void lock() {
    waiting_.fetch_add(1);
    mutex_.lock();
    waiting_.fetch_sub(1);
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
  /// Between two turns of a thread that takes many: those that wait for one come first.
  void let_others() const {
    while (waiting_.load() > 0) {
      std::this_thread::yield();
    }
  }
  /// The calling thread has it.
  [[nodiscard]] bool is_mine() const noexcept {
    // Relaxed: only this thread's own store can make it true.
    return owner_.load(std::memory_order_relaxed) == std::this_thread::get_id();
  }

 private:
  std::mutex mutex_;
  std::atomic<int> waiting_{0};
  std::atomic<std::thread::id> owner_{};
};

}  // namespace troupe::detail
