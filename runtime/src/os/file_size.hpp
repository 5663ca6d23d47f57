// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>

// Sizes of shared memory. To the kernel it is a file: RLIMIT_FSIZE holds for it, and what would go
// over the limit gets SIGXFSZ, which ends the process. Here that is an error (EFBIG) and no signal.
namespace troupe::sys {

/// Both return 0 or an errno. Bytes that come anew are zeros.
int resize(int memory, std::size_t bytes) noexcept;
/// So that there is memory for all of these bytes.
int allocate(int memory, std::size_t from, std::size_t bytes) noexcept;

}  // namespace troupe::sys
