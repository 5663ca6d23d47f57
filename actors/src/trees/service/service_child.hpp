// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/callable.hpp"

#include "trees/service/service_line.hpp"
#include "trees/service/service_role.hpp"

namespace troupe::detail {

/// The function of a supervised process: runs `target` as the role says.
void run_supervised(service_role role, service_line end, bound_call target, bound_call probe);

}  // namespace troupe::detail
