// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/future_state.hpp"
#include "troupe/detail/thread_safety.hpp"

#include "futures/event_state.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace troupe::detail {

/// Until when a thread that pulls the rest of an input waits for room in one turn: a reader of
/// results gets the next turn, and may be the one that makes room.
inline deadline end_of_turn(const deadline& until) {
  const deadline end = deadline_after(std::chrono::milliseconds{10});
  return until && *until < *end ? until : end;
}

/// Lets one thread at a time pull the input of a map: the one that reads the results, or the one
/// that ends the executor. Pulling runs code of the user, which may come back on the same thread.
///
/// The thread that unlocks the turn keeps it alive until `unlock` has returned.
class pull_turn {
 public:
  void lock() {
    if (wait_helper::of_this_thread() != nullptr) {
      lock_in_a_task();
    } else {
      waiting_.fetch_add(1);
      mutex_.lock();
      waiting_.fetch_sub(1);
    }
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
    std::vector<std::shared_ptr<event_state>> exporting;
    {
      const mutex_guard lock{exports_mutex_};
      exporting.swap(exports_);
    }
    for (const auto& each : exporting) {
      each->happened();
    }
  }
  /// Called between two turns by a thread that takes many: returns when no thread waits for one.
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
  /// For a while as any thread. The turn may also be that of an input that waits for what only this
  /// worker can run: then the worker runs other tasks until the turn is over.
  void lock_in_a_task() {
    constexpr auto as_any_thread = std::chrono::milliseconds{50};  // some turns
    constexpr auto between_looks = std::chrono::microseconds{50};
    for (;;) {
      waiting_.fetch_add(1);
      const deadline until = deadline_after(as_any_thread);
      bool locked = mutex_.try_lock();
      while (!locked && std::chrono::steady_clock::now() < *until) {
        std::this_thread::sleep_for(between_looks);
        locked = mutex_.try_lock();
      }
      waiting_.fetch_sub(1);
      if (locked) {
        return;
      }
      const auto end = std::make_shared<event_state>(true);
      {
        const mutex_guard lock{exports_mutex_};
        exports_.push_back(end);
      }
      // The thread that has it now unlocks it later, and finds `end` then.
      if (mutex_.try_lock()) {
        return;
      }
      end->wait(std::nullopt);
    }
  }

  std::mutex mutex_;  // the turn; what it guards is in `map_flow`, without annotations
  std::atomic<int> waiting_{0};
  std::atomic<std::thread::id> owner_{};
  guarded_mutex exports_mutex_;
  std::vector<std::shared_ptr<event_state>> exports_ TROUPE_GUARDED_BY(exports_mutex_);
};

}  // namespace troupe::detail
