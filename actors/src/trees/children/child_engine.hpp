// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/child_status.hpp"
#include "troupe/detail/engine.hpp"
#include "troupe/supervisor_event.hpp"

#include "supervision/child_spec.hpp"
#include "supervision/messages.hpp"
#include "trees/children/tree_loop.hpp"

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>

namespace troupe::detail {

class supervisor_core;
class supervisor_node;

/// What one run of a child tells its supervisor. Each is called at most once, `ended` last, on any
/// thread; nothing is done on that thread but to note it.
struct child_events {
  std::function<void()> ready;
  std::function<void()> ignored;
  /// Nothing of the run is left: no process, thread or descriptor.
  std::function<void(child_death)> ended;
  /// For a supervisor: what happens below it. On the loop's thread.
  std::function<void(const supervisor_event&)> happened;
};

/// What an engine is made for.
struct child_run {
  std::shared_ptr<tree_loop> loop;
  std::string path;  ///< the child's name, with those of the supervisors above: "web/feed"
  child_spec spec;
  incarnation run = 0;
  child_events events;
  bool in_process = false;  ///< its supervisor places what does not say otherwise in this process
};

/// One run of a child, of whatever kind: how it is started, asked to stop and killed.
///
/// Members but `pid` and `workers` are called on the loop's thread, `start` once and first. None
/// of them waits for code of the user.
class child_engine {
 public:
  child_engine() = default;
  child_engine(const child_engine&) = delete;
  child_engine& operator=(const child_engine&) = delete;
  virtual ~child_engine() = default;

  /// Begins the run. Answered by the events.
  ///
  /// @throws what a start throws at once: the run has ended then, and no event comes.
  virtual void start() = 0;
  virtual void ask_to_stop() = 0;
  virtual void kill() = 0;

  /// For tests: the run ends with that death. False: it cannot.
  virtual bool die(const child_death& /*how*/) { return false; }
  /// Of its process; 0: it has none. On any thread.
  [[nodiscard]] virtual std::int64_t pid() const { return 0; }
  /// Its pool, while it is up; else null. On any thread.
  [[nodiscard]] virtual engine_ptr workers() const { return nullptr; }
};

/// A kind of child with all that is needed to start one.
struct child_definition {
  child_spec spec;
  std::string kind;
  /// Makes the engine of a run; on the loop's thread.
  std::function<std::shared_ptr<child_engine>(const child_run&)> make;
  /// Of a supervisor.
  std::shared_ptr<supervisor_core> below{};
  /// Makes it in this process, with a watchdog but no probe, for simulations; empty: it is no
  /// coroutine, so it cannot be simulated.
  std::function<std::shared_ptr<child_engine>(const child_run&)> simulate{};
};

using definition_ptr = std::shared_ptr<const child_definition>;

/// How a start that failed with that exception looks to the supervisor.
[[nodiscard]] child_death death_of_start(const std::exception_ptr& why);

}  // namespace troupe::detail
