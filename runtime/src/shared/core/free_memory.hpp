// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace troupe::detail {

/// Bytes that this process could still allocate, by the kernel's estimate and its control groups'
/// limits; the largest number if that is not known. A request for more shared memory than that
/// would not fail: the kernel's OOM killer would end some process, perhaps an unrelated one.
[[nodiscard]] std::uint64_t free_memory_bytes();

}  // namespace troupe::detail
