// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace troupe::detail {

/// Makes this process the worker `id`, once, before anything of the user runs in it.
void set_worker_id(std::uint64_t id) noexcept;

}  // namespace troupe::detail
