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

/// How many workers there are: starts them, replaces those that are too old, too large or have done
/// enough, and lets surplus ones go.
class fleet {
 public:
  fleet(pool_state& state, worker_control& control, pool_life& life);

  /// The first ones.
  void start();
  void resize(int workers);
  /// Starts what is missing.
  void maintain();
  /// A worker did not come up. `transient`: the system is short of something, which passes.
  void on_failed_start(std::shared_ptr<const failure> why, bool transient);
  void on_ready(worker_record& worker);
  /// It has died, and replacements are started only while deaths are not too many.
  void on_death(std::int64_t pid, bool counts);
  /// It is gone, and known no more.
  void forget(std::uint64_t worker);
  void on_relaunch();

  /// It is to go: nothing more is sent there, and it leaves when it has nothing.
  void retire(worker_record& worker, retirement why);
  void retire_drained();
  /// After some of its tasks have ended.
  void check_memory(worker_record& worker);

  // At the end of a dispatch.
  void grow();
  void watch_idle();
  void on_idle_timer();
  /// Workers beyond the size for those whose tasks wait for tasks.
  void compensate(bool some_have_room);
  [[nodiscard]] pool_size& size() noexcept { return size_; }
  [[nodiscard]] std::uint64_t task_limit() const { return rules_.task_limit(); }
  /// Why no worker could be started for tasks of tasks, once.
  std::shared_ptr<const failure> take_shortage() { return std::move(shortage_); }

 private:
  void shed_surplus();

  pool_state& state_;
  worker_control& control_;
  pool_life& life_;
  worker_starter starter_;
  recycling_rules rules_;
  pool_size size_;
  bool idle_timer_ = false;
  bool some_retire_ = false;
  std::shared_ptr<const failure> shortage_;
};

}  // namespace troupe::detail
