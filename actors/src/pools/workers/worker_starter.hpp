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

/// Starts workers, and knows when the next one may be: after a death at once, after failed starts
/// with pauses that grow, and at some time not any more.
class worker_starter {
 public:
  explicit worker_starter(pool_state& state);

  /// Null: its process is being started.
  std::shared_ptr<const failure> launch();
  /// No start is tried before the pause is over.
  [[nodiscard]] bool pauses() const noexcept { return relaunch_at_.has_value(); }
  void pause(std::chrono::milliseconds delay);
  void end_pause() noexcept { relaunch_at_.reset(); }

  void note_started();
  /// What to do about a death; those of tasks that answer for themselves do not count.
  restart_decision on_death(bool counts);
  restart_decision on_failed_start();
  /// The system is short of something: that passes, and tasks wait meanwhile.
  restart_decision on_refused_start();
  [[nodiscard]] int failed_starts() const { return history_.failed_starts(); }
  /// Refused so often in a row that tasks of tasks wait no longer for a worker that their parents
  /// do not hold.
  [[nodiscard]] bool refused_for_long() const noexcept { return refused_ > refusals_borne; }

 private:
  static constexpr int refusals_borne = 3;

  void configure(supervisor_channel& channel);

  pool_state& state_;
  start_method method_;
  std::vector<std::byte> configuration_;       // every worker's first frame
  attachment_list configuration_attachments_;  // what it refers to
  restart_history history_;
  int refused_ = 0;  // starts in a row, because the system was short of something
  std::optional<steady_time> relaunch_at_;
};

}  // namespace troupe::detail
