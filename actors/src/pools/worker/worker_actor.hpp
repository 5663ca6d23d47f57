// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "channel/channel.hpp"
#include "process/launcher.hpp"

#include <cstddef>
#include <span>

namespace troupe::detail {

/// What a process does that got a `become` frame: it runs the target and leaves.
using process_target = void (*)(worker_channel& channel, const frame_header& frame,
                                std::span<const std::byte> payload);

/// A worker process, or one of the user's, from the first instruction of the library to its end.
[[noreturn]] void run_worker(worker_boot&& boot, process_target act);

}  // namespace troupe::detail
