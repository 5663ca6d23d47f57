// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "channel/channel.hpp"

#include <cstdint>
#include <mutex>
#include <stop_token>

namespace troupe::detail {

/// Turns stop requests of the supervisor into a stop_token; its thread starts when somebody asks
/// for the first token.
class stop_watcher {
 public:
  explicit stop_watcher(const worker_channel& channel) : channel_{channel} {}

  /// Of the task with that number, which is the one that runs.
  std::stop_token token(std::uint64_t number);

 private:
  void watch();

  const worker_channel& channel_;
  std::mutex mutex_;
  std::uint64_t number_ = 0;  // guarded by mutex_
  std::stop_source source_;   // guarded by mutex_
  bool started_ = false;      // guarded by mutex_
};

}  // namespace troupe::detail
