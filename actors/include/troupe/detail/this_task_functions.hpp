// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <stop_token>
#include <string_view>

/// About the task that is running in this worker right now. In a coroutine (troupe/task.hpp): about
/// its own task, after every suspension too, and likewise in what it spawns on its executor.
namespace troupe::this_task {

/// A token that is set when the task is cancelled or its `.timeout` or `.deadline` has passed; then
/// it has the grace time to end. Outside of a task: a token that is never set.
///
/// The first call in a worker starts a thread there that watches for requests; in a coroutine,
/// which Asio cancels at the same time, there is none.
///
/// @threads the task's own; the token may be given to others.
[[nodiscard]] std::stop_token stop_token();

/// The task's number, as in error texts; 0 outside of a task.
///
/// @threads the task's own.
[[nodiscard]] std::uint64_t id() noexcept;

/// Reports the task's progress to the holders of its future: `future::progress`, `on_progress`.
///
/// Cheap enough for an inner loop: at most one report in 20 ms is sent, and the one that completes
/// `total`. `text` is cut off after 200 bytes. Only the newest report is kept. Outside of a task it
/// does nothing.
///
/// @blocks no.
/// @threads the task's own.
void progress(std::uint64_t done, std::uint64_t total = 0, std::string_view text = {});

/// Which attempt at the task this is: 1 for the first, more for retries; 0 outside of a task.
///
/// @threads the task's own.
[[nodiscard]] std::uint32_t attempt() noexcept;

}  // namespace troupe::this_task
