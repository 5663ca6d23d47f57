// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/workers/pool_state.hpp"

#include <cstdint>
#include <string>

namespace troupe::detail {

/// Carries out what other parts decide about a worker: takes tasks back, sends stop requests, tells
/// the worker to leave, kills it. It decides nothing.
///
/// @threads the supervisor's turn, all members.
class worker_control {
 public:
  explicit worker_control(pool_state& state) : state_{state} {}

  /// Takes back all tasks that the worker has not begun and puts them in front of the queue.
  void take_back(worker_record& worker);
  /// Frees the affinity keys bound to the worker: what waits for it may go to any other.
  void unbind(worker_record& worker);
  /// Sends the worker a request to stop task `number`, which it has begun.
  void request_stop(worker_record& worker, std::uint64_t number);
  /// Sends what found no room yet: requests, and that it is to leave.
  void send_stops(worker_record& worker);
  /// Tells a worker without tasks to leave.
  void stop(worker_record& worker);
  /// The worker's channel is broken or its process is about to end: sends it nothing more.
  void abandon(worker_record& worker);
  /// Sends the worker SIGKILL; `because` goes into the failure of what it was running.
  void kill(worker_record& worker, std::string because);
  /// Sets the timer after which frames that the worker had no room for are tried again.
  void unblock_later(worker_record& worker);
  /// Publishes the number of usable workers in the counts.
  void count_ready() { state_.counts.workers = static_cast<std::uint64_t>(state_.workers.ready()); }
  /// How many workers were sent SIGKILL.
  [[nodiscard]] std::uint64_t killed() const noexcept { return killed_; }

 private:
  pool_state& state_;
  std::uint64_t killed_ = 0;
};

}  // namespace troupe::detail
