// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/supervisor/pool_life.hpp"
#include "pools/workers/pool_state.hpp"
#include "pools/workers/worker_control.hpp"
#include "pools/workers/worker_starter.hpp"
#include "scheduling/pool_size.hpp"

#include <cstdint>
#include <memory>

namespace troupe::detail {

/// Decides how many workers the pool has: starts them, replaces those that are too old, too large
/// or have run their number of tasks, and lets surplus ones leave.
///
/// Owns the pool's wanted size, its rules for recycling and its `worker_starter`. A worker that is
/// replaced leaves after its successor is ready; `works_until_replaced` says whether it gets tasks
/// until then.
///
/// @threads the supervisor's turn, all members.
class fleet {
 public:
  fleet(pool_state& state, worker_control& control, pool_life& life);

  /// Starts the workers of a new pool.
  void start();
  void resize(int workers);
  /// Starts workers until the pool has its wanted size, unless a pause after failures is on.
  void maintain();
  /// A worker's process could not be started, or its initializer failed. `transient`: because of
  /// a shortage that may pass, of memory or descriptors.
  void on_failed_start(std::shared_ptr<const failure> why, bool transient);
  /// The worker's initializer has returned: the worker takes tasks.
  void on_ready(worker_record& worker);
  /// A worker died. `counts`: towards the limit of restarts, above which the pool breaks.
  void on_death(std::int64_t pid, charge what);
  /// Removes the record of a worker whose process has ended.
  void forget(std::uint64_t worker);
  /// The pause after failed starts is over.
  void on_relaunch();

  /// Sends the worker no more tasks; it leaves when those it has begun have outcomes.
  void retire(worker_record& worker, retirement why);
  /// Tells retiring workers that have no tasks left to leave.
  void retire_drained();
  /// Replaces a worker that has reached its age, unless it has been sent its first tasks and has not
  /// begun one yet, or others of a new pool still start: then it gets as much time again. Otherwise
  /// a pool whose workers age faster than they begin would run nothing, or never be there.
  void on_age(worker_record& worker);
  /// Replaces the worker if its memory is above the limit; called after its tasks ended.
  void check_memory(worker_record& worker);

  // At the end of a dispatch.
  /// Raises an elastic pool's size if tasks wait and no worker is starting.
  void grow();
  /// Sets the timer for idle workers of an elastic pool.
  void watch_idle();
  void on_idle_timer();
  /// Adjusts the number of extra workers, one for each worker whose task waits for tasks.
  /// `some_wait`: a task that may begin waits for any worker. `some_have_room`: a worker can take a
  /// task, so no further one is needed. `more_wait`: tasks wait, whether they may begin or not.
  void compensate(bool some_wait, bool some_have_room, bool more_wait);
  [[nodiscard]] pool_size& size() noexcept { return size_; }
  /// An elastic pool that has not its largest size.
  [[nodiscard]] bool may_grow() const { return size_.may_grow() && state_.serving(); }
  /// The failure of the starts that tasks of tasks were waiting for, once; null: none.
  std::shared_ptr<const failure> take_shortage() { return std::move(shortage_); }

 private:
  /// It has nothing, and no task waits for it alone.
  [[nodiscard]] bool is_idle(const worker_record& worker) const;
  /// Starts one worker; a failure to do so is dealt with.
  void launch();
  /// The worker is to be replaced: it retires, or works until its successor is ready.
  void replace(worker_record& worker, retirement why);
  /// Retires those that worked until their successors were ready.
  void let_replaced_go();
  void shed_surplus();

  pool_state& state_;
  worker_control& control_;
  pool_life& life_;
  worker_starter starter_;
  recycling_rules rules_;
  pool_size size_;
  std::uint64_t launched_ = 0;  // workers ever
  bool idle_timer_ = false;
  bool some_retire_ = false;  // or are to be replaced
  std::shared_ptr<const failure> shortage_;
};

}  // namespace troupe::detail
