// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "trees/children/child_engine.hpp"
#include "trees/children/process_plan.hpp"
#include "trees/children/service_watch.hpp"
#include "trees/service/service_coroutine.hpp"
#include "trees/service/service_state.hpp"

#include <atomic>
#include <exception>
#include <memory>
#include <string>

namespace troupe::detail {

/// A run of a function in this process: on a thread of its own, or, a coroutine that is a service, on
/// one that it shares with others.
///
/// Nothing kills a thread. A kill sets the stop token; a run that has not ended a while later is
/// *abandoned*: it counts as ended, and what it says then is ignored.
///
///   runs ── its function and its probe have returned ──▶ ended
///     └── killed, or put down ── the time for it is over ──▶ abandoned
class local_engine final : public child_engine, public std::enable_shared_from_this<local_engine> {
 public:
  local_engine(child_run how, std::shared_ptr<const process_plan> plan);

  void start() override;
  void ask_to_stop() override;
  void kill() override;
  bool die(const child_death& how) override;

 private:
  /// A part of the run has returned, on its thread. `thrown`: of the function.
  void leave(const std::exception_ptr& thrown);
  void begin_function();
  void begin_coroutine();
  void on_end();
  void abandon();
  void finish(const child_death& how);

  const child_run how_;
  const std::shared_ptr<const process_plan> plan_;
  std::shared_ptr<service_state> state_;
  std::shared_ptr<service_watch> watch_;
  std::shared_ptr<service_coroutine> coroutine_;
  std::shared_ptr<coroutine_thread> where_;
  std::atomic<int> parts_{1};  // the function and its probe
  bool alive_ = false;         // the tree's thread's
};

}  // namespace troupe::detail
