// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/engine.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/task_options.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace troupe::detail {

/// What every pool is, to its handles, to an executor, and to the runtime that ends it: processes
/// and threads implement it. How work comes in differs by what a task is, so each has its own way:
/// encoded submissions (pools/process) or callables (pools/thread).
///
/// @threads any, all members.
class engine {
 public:
  engine() = default;
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;
  virtual ~engine() = default;

  /// No new work; what there is finishes.
  virtual void close() = 0;
  /// @blocks until the end that close or terminate began, its callbacks too.
  /// @throws std::logic_error before close or terminate.
  virtual void join() = 0;
  /// As join; callable before close. False: the deadline passed first.
  virtual bool join_until(const deadline& until) = 0;
  /// Drops what waits, and ends the workers by the ladder.
  virtual void terminate() = 0;
  /// As terminate, without a grace time.
  virtual void kill() = 0;
  /// Terminates, unless it is over, and waits; for destructors.
  virtual void end() noexcept = 0;
  /// The program ends: the engine gives back what it has of the runtime.
  virtual void retire() noexcept {}

  /// Cancels what no worker has begun.
  virtual void cancel_waiting() = 0;
  /// Sets the stop token of all that runs.
  virtual void ask_all_to_stop() = 0;
  /// @throws std::invalid_argument; pool_closed; pool_broken.
  virtual void resize(int workers) = 0;

  virtual std::shared_ptr<room_turn> make_turn() = 0;
  virtual std::vector<worker_info> workers() = 0;
  virtual pool_stats stats() = 0;
  /// Workers that are processes, which `terminate` would end by a signal.
  virtual std::uint64_t processes() { return 0; }
  /// Workers that got SIGKILL from here.
  virtual std::uint64_t killed() { return 0; }

  [[nodiscard]] virtual const options_ptr& task_defaults() const noexcept = 0;
  [[nodiscard]] virtual std::chrono::milliseconds grace() const noexcept = 0;
  /// What texts call it: "pool 'name'".
  [[nodiscard]] virtual std::string title() const = 0;
  /// The calling thread runs one of its tasks: waiting here would be waiting for itself.
  [[nodiscard]] virtual bool in_own_task() const noexcept { return false; }
  /// False in a forked child, and on a thread of the library that calls exit.
  [[nodiscard]] virtual bool can_wait() const noexcept = 0;
};

}  // namespace troupe::detail
