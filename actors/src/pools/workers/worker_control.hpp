// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/workers/pool_state.hpp"

#include <cstdint>
#include <string>

namespace troupe::detail {

/// What a supervisor does to its workers: gives up on what they have not begun, asks them to stop,
/// tells them to leave, and kills them.
class worker_control {
 public:
  explicit worker_control(pool_state& state) : state_{state} {}

  /// What it has not begun waits again.
  void take_back(worker_record& worker);
  /// Nothing waits for that worker any more.
  void unbind(worker_record& worker);
  /// Asks one of its begun tasks to stop.
  void request_stop(worker_record& worker, std::uint64_t number);
  /// Sends what found no room yet: requests, and that it is to leave.
  void send_stops(worker_record& worker);
  /// Tells it to leave. Nothing is with it.
  void stop(worker_record& worker);
  /// Nothing more goes there; its end is near.
  void abandon(worker_record& worker);
  void kill(worker_record& worker, std::string because);
  /// Looks at it again when what it could not take may go.
  void unblock_later(worker_record& worker);
  void count_ready() { state_.counts.workers = static_cast<std::uint64_t>(state_.workers.ready()); }
  /// Workers that got SIGKILL from here.
  [[nodiscard]] std::uint64_t killed() const noexcept { return killed_; }

 private:
  pool_state& state_;
  std::uint64_t killed_ = 0;
};

}  // namespace troupe::detail
