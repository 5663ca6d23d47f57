// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/policy.hpp"

#include "pools/workers/pool_state.hpp"
#include "scheduling/restart_budget.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

namespace troupe::detail {

/// Starts worker processes, and decides when the next one may be started: after a death at once,
/// after failed starts with growing pauses, and after too many of either never again.
///
/// Owns the configuration frame that each worker gets, and the budgets of deaths and failed starts.
///
/// @threads the supervisor's turn, all members.
class worker_starter {
 public:
  explicit worker_starter(pool_state& state);

  /// Begins to start one process, which may be given `task_limit` tasks in its life. Returns why
  /// that failed at once; null: the process is being started, and the pool hears how that ended.
  std::shared_ptr<const failure> launch(std::uint64_t task_limit);
  /// No start is tried before the pause is over.
  [[nodiscard]] bool pauses() const noexcept { return relaunch_at_.has_value(); }
  void pause(std::chrono::milliseconds delay);
  void end_pause() noexcept { relaunch_at_.reset(); }

  void note_started();
  /// What to do about a death. It is free if all lost tasks had retries, which bound their attempts.
  /// What is forgiven before another worker has come up is one end: all workers of a fork server die
  /// with it.
  restart_verdict on_death(charge what);
  restart_verdict on_failed_start();
  /// How long to wait after a start that failed for want of memory, processes or descriptors: tasks
  /// wait until a later start succeeds.
  std::chrono::milliseconds on_refused_start();
  [[nodiscard]] int failed_starts() const noexcept { return start_row_.failed_starts; }
  [[nodiscard]] const restart_limits& limits() const noexcept { return deaths_.limits(); }
  /// So many starts in a row were refused that waiting tasks of tasks are failed, if the tasks that
  /// wait for them hold all workers.
  [[nodiscard]] bool refused_for_long() const noexcept {
    return refused_row_.ends > refusals_borne;
  }

 private:
  static constexpr int refusals_borne = 3;

  void configure(supervisor_channel& channel);

  pool_state& state_;
  start_method method_;
  std::vector<std::byte> configuration_;       // every worker's first frame
  attachment_list configuration_attachments_;  // descriptors that it refers to
  restart_budget deaths_;
  restart_row death_row_;
  restart_budget starts_;  // of their own: a failed start is no death, nor is a refused one
  restart_row start_row_;
  steady_time last_start_{};
  bool forgiven_since_ = false;  // that start
  restart_row refused_row_;      // of starts, because the system was short of something
  std::optional<steady_time> relaunch_at_;
};

}  // namespace troupe::detail
