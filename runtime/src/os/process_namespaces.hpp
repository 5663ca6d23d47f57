// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace troupe::detail {

/// The process with this identity (process_identity.hpp) is of another PID namespace or time
/// namespace than this one, so `is_gone` does not know of it.
[[nodiscard]] bool is_elsewhere(std::uint64_t identity) noexcept;

}  // namespace troupe::detail
