// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/child_status.hpp"
#include "troupe/error.hpp"
#include "troupe/strategy.hpp"

#include "scheduling/restart_budget.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace troupe::detail {

/// What follows an end.
enum class follow_up : std::uint8_t {
  by_type,  ///< the child's `restart` and the supervisor's strategy decide
  replace,  ///< a new incarnation of this child alone, whatever its `restart`: it was asked for
  none      ///< nothing: the child stays down
};

/// A row of the table of causes.
struct cause_rule {
  end_cause cause;
  charge costs;
  follow_up then;
  std::string_view name;     ///< as docs/supervision.md and pictures have it
  std::string_view meaning;  ///< for people
};

/// What each cause costs and what follows: the one place that says it. docs/supervision.md prints
/// it, and a test compares the two.
inline constexpr std::array cause_table{
    cause_rule{end_cause::threw, charge::counts, follow_up::by_type, "threw",
               "an exception left its function"},
    cause_rule{end_cause::exit_code, charge::counts, follow_up::by_type, "exit_code",
               "it exited with a code that is not one of its success codes"},
    cause_rule{end_cause::signal, charge::counts, follow_up::by_type, "signal",
               "a signal ended it that its supervisor did not send"},
    cause_rule{end_cause::own_memory, charge::counts, follow_up::by_type, "own_memory",
               "it went over its own limit of memory"},
    cause_rule{end_cause::own_cpu, charge::counts, follow_up::by_type, "own_cpu",
               "it went over its own limit of CPU time"},
    cause_rule{end_cause::start_limit, charge::counts, follow_up::by_type, "start_limit",
               "it was not ready within its `start_timeout`"},
    cause_rule{end_cause::missed_heartbeat, charge::counts, follow_up::by_type, "missed_heartbeat",
               "its watchdog saw no heartbeat in time"},
    cause_rule{end_cause::failed_probe, charge::counts, follow_up::by_type, "failed_probe",
               "its probe said that it does not work"},
    cause_rule{end_cause::ended_too_early, charge::counts, follow_up::by_type, "ended_too_early",
               "it is permanent, and ended with success"},
    cause_rule{end_cause::gave_up, charge::counts, follow_up::by_type, "gave_up",
               "it is a supervisor or a pool, and was over its own limits of restarts"},
    cause_rule{end_cause::finished, charge::free, follow_up::by_type, "finished",
               "it ended with success, and is not permanent"},
    cause_rule{end_cause::stopped_by_user, charge::free, follow_up::none, "stopped_by_user",
               "the user stopped or removed it"},
    cause_rule{end_cause::restarted_by_user, charge::free, follow_up::replace, "restarted_by_user",
               "the user asked for a new incarnation"},
    cause_rule{end_cause::reload, charge::free, follow_up::replace, "reload",
               "its specification was changed"},
    cause_rule{end_cause::sibling, charge::free, follow_up::by_type, "sibling",
               "the strategy stopped it, because another child had died"},
    cause_rule{end_cause::recycled, charge::free, follow_up::replace, "recycled",
               "it had done its number of tasks, was too old or too large"},
    cause_rule{end_cause::scaled_down, charge::free, follow_up::none, "scaled_down",
               "fewer workers are wanted"},
    cause_rule{end_cause::moved, charge::free, follow_up::replace, "moved",
               "it is placed somewhere else now"},
    cause_rule{end_cause::shutdown, charge::free, follow_up::none, "shutdown",
               "its supervisor stops"},
    cause_rule{end_cause::charged_to_task, charge::free, follow_up::by_type, "charged_to_task",
               "a task with `.retries` ended it, and pays with an attempt"},
    cause_rule{end_cause::pool_kill, charge::free, follow_up::by_type, "pool_kill",
               "its pool killed it, for a timeout or `cancel(force)`"},
    cause_rule{end_cause::fork_server, charge::forgiven, follow_up::by_type, "fork_server",
               "the fork server died, and took it along"},
    cause_rule{end_cause::neighbor, charge::forgiven, follow_up::by_type, "neighbor",
               "a call to another child ended the worker that both shared"},
    cause_rule{end_cause::machine_memory, charge::forgiven, follow_up::by_type, "machine_memory",
               "the machine ran out of memory while it was under its own limit"},
    cause_rule{end_cause::node_lost, charge::forgiven, follow_up::by_type, "node_lost",
               "the machine that it ran on is gone"},
    cause_rule{end_cause::program_paused, charge::forgiven, follow_up::by_type, "program_paused",
               "the whole program was stopped, so a time limit passed"},
    cause_rule{end_cause::engine_unreachable, charge::forgiven, follow_up::by_type,
               "engine_unreachable", "the engine between the machines could not be reached"}};

/// The row of a cause.
[[nodiscard]] constexpr const cause_rule& rule_of(end_cause cause) noexcept {
  return cause_table[static_cast<std::size_t>(cause)];
}

namespace causes {
/// Each row stands where its cause's number says.
consteval bool in_order() {
  for (std::size_t i = 0; i < cause_table.size(); ++i) {
    if (static_cast<std::size_t>(cause_table[i].cause) != i) {
      return false;
    }
  }
  return cause_table.size() == static_cast<std::size_t>(end_cause::engine_unreachable) + 1;
}
static_assert(in_order());
}  // namespace causes

/// The cause of the end of a child with that `restart`: success is too early for a permanent one.
[[nodiscard]] constexpr end_cause cause_for(restart type, end_cause cause) noexcept {
  return cause == end_cause::finished && type == restart::permanent ? end_cause::ended_too_early
                                                                    : cause;
}

/// Whether a child with that `restart` is started again after an end of that cause, budget
/// permitting.
[[nodiscard]] constexpr bool starts_again(restart type, end_cause cause) noexcept {
  switch (rule_of(cause).then) {
    case follow_up::none:
      return false;
    case follow_up::replace:
      return true;
    case follow_up::by_type:
      break;
  }
  return type == restart::permanent || (type == restart::transient && cause != end_cause::finished);
}

/// The cause of a process's end of which nothing else is known.
[[nodiscard]] end_cause cause_of(const exit_status& status, const std::vector<int>& success_codes);

}  // namespace troupe::detail
