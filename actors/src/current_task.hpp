// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <stop_token>
#include <utility>

namespace troupe::detail {

class stop_watcher;

/// What this process is doing now, for this_task.
struct current_task {
  std::uint64_t task = 0;
  std::uint64_t number = 0;
  std::uint32_t attempt = 0;
  stop_watcher* watcher = nullptr;
  const std::stop_source* stop = nullptr;  ///< a coroutine's own
};
extern current_task current;

/// Another task for the length of a scope: coroutines take turns on the main thread.
class as_task {
 public:
  explicit as_task(const current_task& now) : before_{std::exchange(current, now)} {}
  as_task(const as_task&) = delete;
  as_task& operator=(const as_task&) = delete;
  ~as_task() { current = before_; }

 private:
  current_task before_;
};

}  // namespace troupe::detail
