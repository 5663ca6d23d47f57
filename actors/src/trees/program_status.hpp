// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/system_status.hpp"

namespace troupe::detail {

/// What `system::tree` returns.
[[nodiscard]] supervisor_status program_tree_now();

/// What `system::status` returns, but for the signals.
[[nodiscard]] system_status program_figures();

}  // namespace troupe::detail
