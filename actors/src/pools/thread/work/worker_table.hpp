// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/thread/work/task_lanes.hpp"
#include "pools/thread/work/worker_bell.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace troupe::detail {

/// A worker as the scheduler knows it, which guards all members but atomics and constants: other
/// code has the seat only to name its worker.
struct worker_seat {
  worker_seat(int place_in_names, std::uint64_t worker_id) : place{place_in_names}, id{worker_id} {}

  const int place;         ///< in its thread's name; may be used again
  const std::uint64_t id;  ///< never used again
  const std::shared_ptr<worker_bell> bell = std::make_shared<worker_bell>();
  std::atomic<std::int64_t> thread_id{0};

  task_lanes own;                           ///< only it may take these
  std::vector<thread_submission*> running;  ///< the innermost last
  std::chrono::steady_clock::time_point idle_since{};
  enum class rest : std::uint8_t { none, idle, lends } rests = rest::none;
  bool expected = false;  ///< it was woken and is not there yet
  bool looking = false;   ///< counted in those that look before they sleep
  bool leaving = false;   ///< takes nothing more
  bool present = false;   ///< initialized, and not gone

  // Written by the worker for every task, read by any thread; one writer, hence no
  // read-modify-write.
  alignas(64) std::atomic<std::uint64_t> succeeded{0};
  std::atomic<std::uint32_t> busy{0};          ///< tasks that it runs
  std::atomic<bool> free{true};                ///< would take another task at once
  std::atomic<int> urgency{task_lanes::none};  ///< the priority of what is first in `own`

  void count_success() noexcept {
    succeeded.store(succeeded.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
};

/// The workers of a thread pool and what is bound to each. Guarded by the scheduler.
class worker_table {
 public:
  using seats = std::vector<std::unique_ptr<worker_seat>>;

  /// A seat with a number that no thread's name has.
  worker_seat& add();
  /// The worker is gone, or its thread could not be started.
  std::unique_ptr<worker_seat> remove(worker_seat& gone);
  [[nodiscard]] const seats& all() const noexcept { return seats_; }
  /// Tasks that ended well on workers that are gone.
  [[nodiscard]] std::uint64_t past_succeeded() const noexcept { return past_succeeded_; }

  /// The worker whose tasks with this key are: the one that has least to do that only it may do.
  worker_seat& bound_to(const std::string& key);
  /// Nothing is bound to it any more.
  void unbind(const worker_seat& one);

  template <class Which>
  [[nodiscard]] bool any_of(const Which& which) const {
    for (const auto& each : seats_) {
      if (which(*each)) {
        return true;
      }
    }
    return false;
  }

 private:
  seats seats_;
  std::vector<bool> places_;                   // that are taken
  std::map<std::string, worker_seat*> bound_;  // by affinity key
  std::uint64_t next_id_ = 1;
  std::uint64_t past_succeeded_ = 0;
};

/// The workers that sleep and may be woken for a task, and those that are awake and look for one.
/// Guarded by the scheduler.
class resting_workers {
 public:
  using bell = std::shared_ptr<worker_bell>;

  /// Has nothing to do; or waits in a task, where it runs others.
  void add_idle(worker_seat& one);
  void add_lender(worker_seat& one);
  /// It is awake, by whatever woke it.
  void woke_up(worker_seat& one);
  /// It looks once more before it sleeps.
  void looks(worker_seat& one);

  /// Wakes this one for a task; null: it is awake, and looks when it has time.
  bell call(worker_seat& one);
  enum class search : std::uint8_t { found, enough_awake, none };
  /// The one to wake for what waits, `queued` items.
  search call_next(std::uint64_t queued, bell& found);
  /// Wakes all that are idle.
  std::vector<bell> call_idle();
  /// Wakes those idle ones that `which` says.
  template <class Which>
  void call_idle_if(const Which& which, std::vector<bell>& called) {
    std::erase_if(idle_, [&](worker_seat* one) {
      if (!which(*one)) {
        return false;
      }
      one->rests = worker_seat::rest::none;
      called.push_back(one->bell);
      return true;
    });
  }
  [[nodiscard]] bool any_idle() const noexcept { return !idle_.empty(); }

 private:
  std::uint32_t looking_ = 0;
  bool waking_ = false;  ///< an idle worker is on its way
  std::vector<worker_seat*> idle_;
  std::vector<worker_seat*> lenders_;
};

}  // namespace troupe::detail
