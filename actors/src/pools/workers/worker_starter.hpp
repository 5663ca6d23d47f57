// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/policy.hpp"

#include "pools/workers/pool_state.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

namespace troupe::detail {

/// Starts worker processes, and decides when the next one may be started: after a death at once,
/// after failed starts with growing pauses, and after too many of either never again.
///
/// Owns the configuration frame that each worker gets, and the history of deaths and failed starts.
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
  /// What to do about a death. `counts` is false if all lost tasks had retries, which bound their
  /// attempts.
  restart_decision on_death(bool counts);
  restart_decision on_failed_start();
  /// What to do about a start that failed for want of memory, processes or descriptors: tasks wait
  /// until a later start succeeds.
  restart_decision on_refused_start();
  [[nodiscard]] int failed_starts() const { return history_.failed_starts(); }
  /// So many starts in a row were refused that waiting tasks of tasks are failed, if the tasks that
  /// wait for them hold all workers.
  [[nodiscard]] bool refused_for_long() const noexcept { return refused_ > refusals_borne; }

 private:
  static constexpr int refusals_borne = 3;

  void configure(supervisor_channel& channel);

  pool_state& state_;
  start_method method_;
  std::vector<std::byte> configuration_;       // every worker's first frame
  attachment_list configuration_attachments_;  // descriptors that it refers to
  restart_history history_;
  int refused_ = 0;  // starts in a row, because the system was short of something
  std::optional<steady_time> relaunch_at_;
};

}  // namespace troupe::detail
