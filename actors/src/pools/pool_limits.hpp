// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/pool_options.hpp"
#include "troupe/restart_limits.hpp"

#include <string_view>

namespace troupe::detail {

/// The limits of a pool: `restart`, the former name, if anything was changed there.
[[nodiscard]] restart_limits limits_of(const pool_options& options);
/// Throws std::invalid_argument for limits that make no sense; its text begins with `who`.
void check_limits(std::string_view who, const pool_options& options);

}  // namespace troupe::detail
