// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/supervisor_status.hpp"  // IWYU pragma: export
#include "troupe/task_options.hpp"

#include <cstddef>
#include <cstdint>

namespace troupe {

/// Figures of all that runs in a program, from `system::status`. Supervisors and pools are looked at
/// one after another.
struct system_status {
  std::size_t supervisors = 0;  ///< that run, those below others too
  child_counts children;        ///< of all of these, and of the root, which are no supervisors
  std::uint64_t restarts = 0;   ///< of the children that there are now
  std::size_t pools = 0;        ///< of processes and of threads, that have not ended
  pool_stats tasks;             ///< the figures of these pools together
  int stop_signal = 0;          ///< as `system::stop_signal`
  bool stopping = false;        ///< the token of `system::stop_token` is set
};

}  // namespace troupe
