// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/restart_limits.hpp"
#include "troupe/strategy.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace troupe::detail {

/// What a supervisor has to know of a child, of whatever kind: a pool, a process, a service, a
/// supervisor.
struct child_spec {
  std::string name;  ///< unique among its siblings, without '/'
  troupe::restart restart = troupe::restart::permanent;
  std::vector<std::string> after{};           ///< siblings that are ready before this one begins
  std::chrono::milliseconds shutdown{5'000};  ///< from being asked to stop to being killed
  std::chrono::milliseconds start_timeout{60'000};  ///< for it to be ready
  bool significant = false;                         ///< see `auto_shutdown`
  std::vector<int> success_codes{0};                ///< exit codes of a process that are no failure
};

/// What holds for all children of a supervisor.
struct supervisor_rules {
  troupe::strategy strategy = troupe::strategy::one_for_one;
  restart_limits limits{};
  troupe::auto_shutdown auto_shutdown = troupe::auto_shutdown::never;
  std::optional<int> max_children{};  ///< bounds those added while it runs; none: no bound
  std::uint64_t seed = 0;             ///< of the backoff's jitter
};

}  // namespace troupe::detail
