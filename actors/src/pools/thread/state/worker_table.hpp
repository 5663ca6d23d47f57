// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/thread/state/task_lanes.hpp"
#include "pools/thread/state/wake_list.hpp"
#include "pools/thread/state/worker_bell.hpp"
#include "scheduling/affinity_keys.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace troupe::detail {

/// A worker as crew and scheduler know it. Owned by `worker_table`; their lock guards all members
/// but atomics and constants, so other code uses a seat only to name its worker.
struct worker_seat {
  worker_seat(int place_in_names, std::uint64_t worker_id, bool is_relief)
      : place{place_in_names}, id{worker_id}, relief{is_relief} {}

  const int place;         ///< the number in its thread's name; may be used again
  const std::uint64_t id;  ///< never used again
  const bool relief;       ///< beyond the pool's size, and runs only what is needed
  const std::shared_ptr<worker_bell> bell = std::make_shared<worker_bell>();
  std::atomic<std::int64_t> thread_id{0};

  task_lanes own;                           ///< what only this worker may run
  std::vector<thread_submission*> running;  ///< what it runs, the innermost last
  bool blocked = false;                     ///< it waits in a task, or its loop can begin nothing
  bool runs_any = false;                    ///< while it sleeps in a task: it takes any other
  std::chrono::steady_clock::time_point idle_since{};
  enum class rest : std::uint8_t { none, idle, lends } rests = rest::none;
  bool expected = false;  ///< it was woken and is not there yet
  bool looking = false;   ///< counted in `resting_workers::looking_`
  bool leaving = false;   ///< it takes nothing more
  bool present = false;   ///< its initializer has returned, and it has not left

  // Written by the worker for every task, read by any thread; one writer, hence no
  // read-modify-write.
  alignas(64) std::atomic<std::uint64_t> succeeded{0};
  std::atomic<std::uint32_t> busy{0};          ///< how many tasks it runs
  std::atomic<bool> free{true};                ///< it would take another task at once
  std::atomic<int> urgency{task_lanes::none};  ///< the priority of what is first in `own`

  void count_success() noexcept {
    succeeded.store(succeeded.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
};

/// Owns the seats of a thread pool's workers, and knows which affinity keys are bound to which. A
/// member of the crew, guarded by its lock.
class worker_table {
 public:
  using seats = std::vector<std::unique_ptr<worker_seat>>;

  /// Makes a seat; its place is the lowest that no other seat has.
  worker_seat& add(bool relief = false);
  /// Removes the seat of a worker that has left or could not be started; the caller destroys it
  /// without the lock.
  std::unique_ptr<worker_seat> remove(worker_seat& gone);
  [[nodiscard]] const seats& all() const noexcept { return seats_; }
  /// How many tasks succeeded on workers that have left.
  [[nodiscard]] std::uint64_t past_succeeded() const noexcept { return past_succeeded_; }

  /// The worker to which this key is bound; a new key is bound to the worker with the fewest tasks
  /// bound to it, of equals to the one with the fewest keys.
  worker_seat& bound_to(const std::string& key);
  /// Frees the keys that are bound to this worker.
  void unbind(worker_seat& one);

  /// How many reliefs there are that do not leave.
  [[nodiscard]] std::size_t reliefs() const noexcept;
  template <class Which>
  [[nodiscard]] bool any_of(const Which& which) const {
    for (const auto& each : seats_) {
      if (which(*each)) {
        return true;
      }
    }
    return false;
  }
  /// There is a worker beside this one (null: any) that neither leaves nor waits in a task.
  [[nodiscard]] bool takes_tasks_beside(const worker_seat* one) const {
    return any_of(
        [one](const worker_seat& each) { return &each != one && !each.leaving && !each.blocked; });
  }

 private:
  seats seats_;
  std::vector<bool> places_;  // true: taken
  affinity_keys<worker_seat*> keys_;
  std::uint64_t next_id_ = 1;
  std::uint64_t past_succeeded_ = 0;
};

/// Which workers sleep and may be woken for a task, and how many are awake and look for one. A
/// member of the crew, guarded by its lock.
class resting_workers {
 public:
  /// Notes a worker that sleeps for want of tasks; `add_lender`: one that sleeps in a task or in
  /// its loop, and is chosen for a new task if it `runs_any`.
  void add_idle(worker_seat& one);
  void add_lender(worker_seat& one);
  /// The worker is awake, whether it was called or not.
  void woke_up(worker_seat& one);
  /// The worker looks at the queue once more before it sleeps.
  void looks(worker_seat& one);

  /// Calls this worker so that it takes a task, unless it is awake and will look.
  void call(worker_seat& one, wake_list& to_wake);
  enum class search : std::uint8_t { found, enough_awake, none };
  /// Calls the next worker for `queued` waiting items.
  search call_next(std::uint64_t queued, wake_list& to_wake);
  /// Calls all workers that wait in tasks.
  void call_lenders(wake_list& to_wake);
  /// Calls all idle workers; those for which `which` is true.
  void call_idle(wake_list& to_wake);
  template <class Which>
  void call_idle_if(const Which& which, wake_list& to_wake) {
    std::erase_if(idle_, [&](worker_seat* one) {
      if (!which(*one)) {
        return false;
      }
      one->rests = worker_seat::rest::none;
      to_wake.add(one->bell);
      return true;
    });
  }
  [[nodiscard]] bool any_idle() const noexcept { return !idle_.empty(); }

 private:
  // Used for every task: beside the lock.
  std::uint32_t looking_ = 0;
  bool waking_ = false;  ///< an idle worker was called and is not awake yet
  std::vector<worker_seat*> idle_;
  std::vector<worker_seat*> lenders_;
};

}  // namespace troupe::detail
