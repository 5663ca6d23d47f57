// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"
#include "troupe/start_method.hpp"

#include "trees/service/service_role.hpp"

#include <chrono>
#include <cstdint>
#include <optional>

namespace troupe::detail {

/// What a process or a service runs, and how it is watched.
struct process_plan {
  bool service = false;
  bool coroutine = false;  ///< a service whose function makes one
  bound_call target{};
  std::optional<start_method> start{};
  bool ready_at_start = true;
  std::optional<std::chrono::milliseconds> watchdog{};
  std::optional<std::chrono::milliseconds> every{};
  bound_call probe{};
  std::chrono::milliseconds probe_interval{};
  std::chrono::milliseconds probe_timeout{};
};

/// What a run of it is told.
[[nodiscard]] service_role role_of(const process_plan& plan, std::uint64_t run);

}  // namespace troupe::detail
