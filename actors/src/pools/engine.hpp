// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/engine.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/task_options.hpp"

#include "pools/root_child.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace troupe::detail {

/// The interface of a pool for its handles, for an executor, and for the runtime that ends it.
/// Pools of processes and of threads implement it. Each takes work in its own way, because tasks
/// differ: encoded submissions (pools/process) or callables (pools/thread).
///
/// @threads any, all members.
class engine : public root_child {
 public:
  /// Takes no new work, and finishes what was submitted.
  virtual void close() = 0;
  /// @blocks until the end that close or terminate began, its callbacks too.
  /// @throws std::logic_error before close or terminate.
  virtual void join() = 0;
  /// As `join`, and may be called before `close`. False: the deadline passed first.
  virtual bool join_until(const deadline& until) = 0;
  /// Cancels what waits, and ends the workers by the ladder.
  virtual void terminate() = 0;
  /// As terminate, without a grace time.
  virtual void kill() = 0;
  /// Terminates the pool unless it has ended, and waits for the end; for destructors.
  virtual void end() noexcept = 0;
  /// The runtime ends: the engine releases what it has of it.
  virtual void retire() noexcept {}

  /// Cancels what no worker has begun.
  virtual void cancel_waiting() = 0;
  /// Sets the stop token of each running task.
  virtual void ask_all_to_stop() = 0;
  /// @throws std::invalid_argument; pool_closed; pool_broken.
  virtual void resize(int workers) = 0;

  /// A place in the line of submissions that wait for room without a thread.
  virtual std::shared_ptr<room_turn> make_turn() = 0;
  virtual std::vector<worker_info> workers() = 0;
  virtual pool_stats stats() = 0;
  /// How many workers are processes, which `terminate` ends by a signal.
  virtual std::uint64_t processes() { return 0; }
  /// How many workers the engine has sent SIGKILL.
  virtual std::uint64_t killed() { return 0; }

  [[nodiscard]] virtual const options_ptr& task_defaults() const noexcept = 0;
  [[nodiscard]] virtual std::chrono::milliseconds grace() const noexcept = 0;
  /// The pool's name in texts: "pool 'name'".
  [[nodiscard]] virtual std::string title() const = 0;
  /// True: the calling thread runs one of the pool's tasks, so it cannot wait for the pool's end.
  [[nodiscard]] virtual bool in_own_task() const noexcept { return false; }
  /// False in a forked child, and on a thread of the library that calls exit.
  [[nodiscard]] virtual bool can_wait() const noexcept = 0;
};

/// Logs a warning if a pool's destructor is about to cancel items that no worker has begun.
void warn_of_dropped(const engine& pool, std::uint64_t items);

}  // namespace troupe::detail
