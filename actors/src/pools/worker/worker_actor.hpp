// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "process/launcher.hpp"

namespace troupe::detail {

/// A worker process from its first instruction of ours to its end.
[[noreturn]] void run_worker(worker_boot&& boot);

}  // namespace troupe::detail
