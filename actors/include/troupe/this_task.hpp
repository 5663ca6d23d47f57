// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <stop_token>
#include <string_view>

/// About the task that is running in this worker right now. In a coroutine (troupe/task.hpp): about
/// its own task, after every suspension too, and likewise in what it spawns on its executor.
namespace troupe::this_task {

/// Set when somebody cancels the task or its `.timeout` has passed; then it has the grace time to
/// end. Outside of a task: a token that is never set.
///
/// The first call in a worker starts a thread there that watches for requests; in a coroutine,
/// which Asio cancels at the same time, there is none.
[[nodiscard]] std::stop_token stop_token();

/// The number that error texts name, 0 outside of a task.
[[nodiscard]] std::uint64_t id() noexcept;

/// Tells whoever holds the task's future how far it is: `future::progress`, `on_progress`.
///
/// Cheap enough for an inner loop: at most one report in 20 ms is sent, and the one that completes
/// `total`. `text` is cut off after 200 bytes. Only the newest is kept; nothing waits for it.
/// Call it on the task's own thread. Outside of a task it does nothing.
void progress(std::uint64_t done, std::uint64_t total = 0, std::string_view text = {});

/// 1 for the first attempt, more for retries; 0 outside of a task.
[[nodiscard]] std::uint32_t attempt() noexcept;

}  // namespace troupe::this_task
