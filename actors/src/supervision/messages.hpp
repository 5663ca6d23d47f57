// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/supervisor_outcome.hpp"

#include "supervision/causes.hpp"
#include "supervision/child_spec.hpp"

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

// What a supervision is told, and what it wants done.
namespace troupe::detail {

/// A child of one supervisor; never used again.
using child_id = std::uint64_t;
/// One run of a child. What is said of another run than the present one comes too late, and is
/// ignored. 0: it was never started.
using incarnation = std::uint64_t;
/// What a caller waits for, by the caller's own number.
using request_id = std::uint64_t;

// Events.

/// All children are to be started.
struct start_requested {};
/// All children are to be stopped.
struct stop_requested {};
/// All children are to be killed at once: the time for a stop is over.
struct kill_requested {};
/// A child said that it does its work now.
struct child_ready {
  child_id child = 0;
  incarnation run = 0;
};
/// A child said that it is not needed, and has ended.
struct child_ignored {
  child_id child = 0;
  incarnation run = 0;
};
/// A child has ended: no process, thread or descriptor of this run is left.
struct child_ended {
  child_id child = 0;
  incarnation run = 0;
  end_cause cause = end_cause::signal;
};
/// The time that `next_time()` told has come; another time does no harm.
struct clock_advanced {};
struct add_requested {
  request_id request = 0;
  child_spec spec;
};
/// The child is stopped and forgotten.
struct remove_requested {
  request_id request = 0;
  std::string name;
};
/// The child is stopped, and started again.
struct restart_requested {
  request_id request = 0;
  std::string name;
};
/// The child is stopped, and stays so until a restart is requested.
struct child_stop_requested {
  request_id request = 0;
  std::string name;
};

using supervision_event = std::variant<start_requested, stop_requested, kill_requested, child_ready,
                                       child_ignored, child_ended, clock_advanced, add_requested,
                                       remove_requested, restart_requested, child_stop_requested>;

// Actions.

/// To be answered by `child_ready`, `child_ignored` or `child_ended`.
struct start_child {
  child_id child = 0;
  incarnation run = 0;
  bool operator==(const start_child&) const = default;
};
/// To be answered by `child_ended`, when it has.
struct ask_child_to_stop {
  child_id child = 0;
  incarnation run = 0;
  bool operator==(const ask_child_to_stop&) const = default;
};
/// To be answered by `child_ended`. A child may be asked to stop before, or not.
struct kill_child {
  child_id child = 0;
  incarnation run = 0;
  bool operator==(const kill_child&) const = default;
};
/// The child does not exist any more.
struct forget_child {
  child_id child = 0;
  bool operator==(const forget_child&) const = default;
};
/// All children have been started, and those that were there at the start are ready.
struct supervisor_ready {
  bool operator==(const supervisor_ready&) const = default;
};
/// No child is left. Nothing more happens.
struct supervisor_ended {
  supervisor_end how = supervisor_end::stopped;
  exhausted why = exhausted::nothing;     ///< of `gave_up`
  child_id child = 0;                     ///< whose end was one too many, or was significant
  end_cause cause = end_cause::shutdown;  ///< of that child's end
  bool operator==(const supervisor_ended&) const = default;
};
/// What became of a request.
enum class request_outcome : std::uint8_t {
  done,                ///< added or restarted: it is ready, or not needed; removed, stopped: it is
  start_failed,        ///< it ended before it was ready
  stopped,             ///< it was stopped, or removed, before it was ready
  unknown_name,        ///< there is no such child
  duplicate_name,      ///< there is one already
  too_many_children,   ///< `max_children`
  invalid_spec,        ///< `check_child` finds mistakes, or `after` names no child
  being_removed,       ///< a child that is being removed is not restarted
  not_running,         ///< the supervisor was not started, so no child can be restarted
  supervisor_stopping  ///< or has ended
};
struct answer_request {
  request_id request = 0;
  request_outcome outcome = request_outcome::done;
  bool operator==(const answer_request&) const = default;
};

using supervision_action = std::variant<start_child, ask_child_to_stop, kill_child, forget_child,
                                        supervisor_ready, supervisor_ended, answer_request>;
using action_list = std::vector<supervision_action>;

/// How the end of a supervisor looks to its own supervisor.
[[nodiscard]] constexpr end_cause cause_of(const supervisor_ended& end) noexcept {
  switch (end.how) {
    case supervisor_end::stopped:
    case supervisor_end::auto_shutdown:
      return end_cause::finished;
    case supervisor_end::gave_up:
    case supervisor_end::invalid:
      break;
  }
  return end_cause::gave_up;
}

}  // namespace troupe::detail
