// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <stop_token>
#include <utility>

namespace troupe::detail {

class stop_watcher;
class worker;

/// What this process is doing now, for this_task.
struct current_task {
  std::uint64_t task = 0;
  std::uint64_t number = 0;
  std::uint32_t attempt = 0;
  stop_watcher* watcher = nullptr;
  const std::stop_source* stop = nullptr;  ///< a coroutine's own
};

/// This process as a worker of a pool: in others there is no host, and no task has a number.
struct this_worker_state {
  worker* host = nullptr;
  current_task task;
};
/// @threads the main thread.
[[nodiscard]] inline this_worker_state& this_worker() noexcept {
  static constinit this_worker_state state;
  return state;
}

/// Another task for the length of a scope: coroutines take turns on the main thread.
class as_task {
 public:
  explicit as_task(const current_task& now) : before_{std::exchange(this_worker().task, now)} {}
  as_task(const as_task&) = delete;
  as_task& operator=(const as_task&) = delete;
  ~as_task() { this_worker().task = before_; }

 private:
  current_task before_;
};

}  // namespace troupe::detail
