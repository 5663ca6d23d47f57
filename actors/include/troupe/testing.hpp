// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/child_status.hpp"
#include "troupe/detail/clock.hpp"
#include "troupe/supervisor.hpp"
#include "troupe/supervisor_event.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// Tests of one's own trees, without processes and without waiting. Not part of troupe/troupe.hpp.

namespace troupe {

/// How a simulation goes.
struct simulation_options {
  /// Of the order in which things happen that fall on the same time, and of the backoff's jitter: the
  /// same seed is the same run.
  std::uint64_t seed = 1;
  /// Calls the functions of services that are coroutines; otherwise stand-ins take their place, too.
  bool run_coroutines = true;
};

/// What a stand-in does in each of its runs.
struct simulated_child {
  /// From its start to its readiness.
  std::chrono::nanoseconds ready_after{0};
  /// It is never ready: its start_timeout will end it.
  bool never_ready = false;
  /// From being asked to stop to its end.
  std::chrono::nanoseconds stops_after{0};
  /// From its start to an end by itself. Unset: it runs until it is stopped.
  std::optional<std::chrono::nanoseconds> ends_after{};
  /// How that end looks; `end_cause::finished` is success.
  end_cause ends_with = end_cause::finished;
};

/// Something that happened in a simulation.
struct simulated_event {
  std::chrono::nanoseconds at{0};  ///< since the simulation began
  supervisor_event event;          ///< what
};
/// "12ms feed ended: signal", with the whole milliseconds.
[[nodiscard]] std::string to_string(const simulated_event& what);

namespace detail {
class simulation_state;
}  // namespace detail

/// Runs a tree in virtual time, on the calling thread, so that a test sees in which order its children
/// start, what restarts after which death and when the tree gives up, in microseconds and the same way
/// each time.
///
/// @code
/// troupe::simulation test{tree, {.seed = 7}};
/// test.start();
/// test.kill("feed");
/// test.run_for(1s);
/// EXPECT_TRUE(tree.child("feed").ready);
/// @endcode
///
/// The decisions are those of the real tree. Services that are coroutines run, as with
/// `placement::in_process`, and their `troupe::sleep_for` takes virtual time; real time (Asio's timers,
/// sockets, other threads) does not pass for them, and probes are not called. All other children but supervisors are stand-ins,
/// which are ready at once and end when they are asked; `behave` says otherwise. No `system` is
/// needed, and no process or thread is started.
///
/// The handle of the tree is used as always: what waits (`stop`, `add`, `restart_child`) lets virtual
/// time pass. It is started by the simulation alone, and cannot be started while that lives.
///
/// @threads the one that made it, all members.
/// @crosses no.
/// @throws std::invalid_argument for children that are not there.
class simulation {
 public:
  /// Does not start the tree.
  ///
  /// @throws std::invalid_argument for mistakes in the tree; error{wrong_state} if it runs, or is a
  ///   child.
  explicit simulation(const supervisor& tree, const simulation_options& how = {});
  /// Kills what runs still. The tree can be looked at, simulated again, and started.
  ~simulation();
  simulation(const simulation&) = delete;
  simulation& operator=(const simulation&) = delete;

  /// What the child's stand-in does from its next run on: a coroutine is not called any more then.
  void behave(const std::string& path, const simulated_child& how);
  /// Starts the tree, and lets time pass until it is ready or has ended.
  ///
  /// @returns true: it is ready.
  bool start();
  /// Lets so much time pass.
  void run_for(std::chrono::nanoseconds time);
  /// The child dies of that now.
  ///
  /// @throws error{wrong_state} if it does not run, or is a supervisor.
  void kill(const std::string& path, end_cause cause = end_cause::signal);
  /// The child dies of that right after the event with that number (`happened`, from 1), if it runs
  /// then. For tests that have it die at each point in turn.
  void kill_at(std::size_t event, const std::string& path, end_cause cause = end_cause::signal);

  /// Virtual time since the simulation began.
  [[nodiscard]] std::chrono::nanoseconds now() const;
  /// All that has happened.
  [[nodiscard]] const std::vector<simulated_event>& happened() const;
  /// How the tree ended; nothing: it runs, or was not started.
  [[nodiscard]] std::optional<supervisor_outcome> outcome() const;

 private:
  std::shared_ptr<detail::simulation_state> state_;
};

}  // namespace troupe
