// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/nanoseconds.hpp"

#include <cstdint>
#include <stop_token>

/// What a function that runs as a service (`child_service`) says to its supervisor, and hears from
/// it.
///
/// @threads any of the service's process, all functions. Of a service on threads of the program
///   (`placement::in_process`): its own one, that of its probe, and all that its coroutine runs.
/// @throws error{wrong_state} where no service runs, all but is_service.
namespace troupe::this_service {

/// This process is a service of a supervisor, or the calling thread runs one.
[[nodiscard]] bool is_service() noexcept;
/// Is set when the service is to stop: the function returns soon then.
[[nodiscard]] std::stop_token stop_token();
/// Says that the service does its work now: what comes after it may begin, and its watchdog and its
/// probe do. Later calls do nothing.
void ready();
/// Says to the watchdog that the service is well. Cheap: most calls send nothing.
void heartbeat();
/// The number of this run, 1 for the first.
[[nodiscard]] std::uint64_t incarnation();

}  // namespace troupe::this_service

namespace troupe::detail {
bool service_sleep(std::chrono::nanoseconds time);
}  // namespace troupe::detail

namespace troupe::this_service {

/// Sleeps, but no longer than until the service is to stop.
///
/// A coroutine waits by `co_await troupe::sleep_for(time)`, which ends with operation_aborted when the
/// service is to stop.
///
/// @returns false: it is to stop.
/// @blocks for at most `time`.
template <class Rep, class Period>
[[nodiscard]] bool sleep_for(std::chrono::duration<Rep, Period> time) {
  return detail::service_sleep(detail::to_nanoseconds(time));
}

}  // namespace troupe::this_service
