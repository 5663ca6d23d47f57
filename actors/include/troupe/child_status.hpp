// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe {

/// Where a child of a supervisor is.
///
///   waiting ──▶ starting ──▶ running ──▶ stopping ──▶ (each of the others, or forgotten)
///      ▲           │ ▲          │
///      │           ▼ │          ▼
///      └────────── pausing   stopped ──▶ waiting, starting
enum class child_phase : std::uint8_t {
  waiting,   ///< to be started when those before it are ready
  starting,  ///< started, not ready
  running,   ///< ready
  stopping,  ///< asked to stop, or killed
  pausing,   ///< to be started when the backoff is over
  stopped    ///< ended for good, not needed, or stopped by the user
};

/// The enumerator's name, or "unknown".
[[nodiscard]] std::string_view to_string(child_phase phase) noexcept;

/// Why a child has ended. docs/supervision.md has the table of what each one costs, and what
/// follows.
enum class end_cause : std::uint8_t {
  threw,              ///< an exception left its function
  exit_code,          ///< it exited with a code that is not one of its success codes
  signal,             ///< a signal ended it that its supervisor did not send
  own_memory,         ///< it went over its own limit of memory
  own_cpu,            ///< it went over its own limit of CPU time
  start_limit,        ///< it was not ready within its `start_timeout`
  missed_heartbeat,   ///< its watchdog saw no heartbeat in time
  failed_probe,       ///< its probe said that it does not work
  ended_too_early,    ///< it is permanent, and ended with success
  gave_up,            ///< it is a supervisor or a pool, and was over its own limits of restarts
  finished,           ///< it ended with success, and is not permanent
  stopped_by_user,    ///< the user stopped or removed it
  restarted_by_user,  ///< the user asked for a new incarnation
  reload,             ///< its specification was changed
  sibling,            ///< the strategy stopped it, because another child had died
  recycled,           ///< it had done its number of tasks, was too old or too large
  scaled_down,        ///< fewer workers are wanted
  moved,              ///< it is placed somewhere else now
  shutdown,           ///< its supervisor stops
  charged_to_task,    ///< a task with `.retries` ended it, and pays with an attempt
  pool_kill,          ///< its pool killed it, for a timeout or `cancel(force)`
  fork_server,        ///< the fork server died, and took it along
  neighbor,           ///< a call to another child ended the worker that both shared
  machine_memory,     ///< the machine ran out of memory while it was under its own limit
  node_lost,          ///< the machine that it ran on is gone
  program_paused,     ///< the whole program was stopped, so a time limit passed
  engine_unreachable  ///< the engine between the machines could not be reached
};

/// The enumerator's name, or "unknown".
[[nodiscard]] std::string_view to_string(end_cause cause) noexcept;

/// How a run of a child ended.
struct child_death {
  end_cause cause = end_cause::signal;  ///< for programs
  std::string text;                     ///< for people: "SIGKILL (signal 9)"; empty: nothing more
  /// Compares all members.
  bool operator==(const child_death&) const = default;
};

/// What a supervisor knows of a child at one moment.
struct child_status {
  std::string name;                          ///< unique among its siblings
  std::string kind;                          ///< "process", "service", "pool", "supervisor", ...
  child_phase phase = child_phase::waiting;  ///< where it is
  bool ready = false;                        ///< it does its work: its phase is `running`
  bool dynamic = false;                      ///< added while the supervisor ran
  std::int64_t pid = 0;                      ///< of its process; 0: it has none
  std::uint64_t incarnation = 0;             ///< the number of this run; 0: never started
  int restarts = 0;                          ///< how often it was started again
  int forgiven = 0;                          ///< ends in a row that did not count
  std::optional<child_death> last_death;     ///< how the run before ended; nothing: none has
  std::string budget;  ///< its supervisor's restarts: "2 of 5", and its own: ", 3 forgiven"
};

}  // namespace troupe
