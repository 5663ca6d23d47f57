// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/thread_safety.hpp"
#include "channel/channel.hpp"

#include <cstdint>
#include <stop_token>

namespace troupe::detail {

/// Turns stop requests of the supervisor into a stop_token; its thread starts with the first
/// token.
class stop_watcher {
 public:
  explicit stop_watcher(const worker_channel& channel) : channel_{channel} {}

  /// Of the task with that number, which is the one that runs.
  std::stop_token token(std::uint64_t number);

 private:
  void watch();

  const worker_channel& channel_;
  guarded_mutex mutex_;
  std::uint64_t number_ TROUPE_GUARDED_BY(mutex_) = 0;
  std::stop_source source_ TROUPE_GUARDED_BY(mutex_);
  bool started_ TROUPE_GUARDED_BY(mutex_) = false;
};

}  // namespace troupe::detail
