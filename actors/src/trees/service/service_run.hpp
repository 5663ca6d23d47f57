// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"

#include "trees/service/service_state.hpp"

#include <exception>
#include <string>

namespace troupe::detail {

/// Whether a call of that function makes a coroutine.
[[nodiscard]] bool makes_coroutine(const bound_call& target) noexcept;
/// Runs a service's function on the calling thread, as its role says, until it has ended or is to
/// stop.
///
/// @throws what the function throws.
void run_service(service_state& self, const bound_call& target);
/// Runs the probe again and again, until it throws or the service is to stop.
void run_probes(service_state& self, const bound_call& probe);
/// What an exception is in a line to the supervisor.
[[nodiscard]] std::string text_of(const std::exception_ptr& thrown);

}  // namespace troupe::detail
