// SPDX-License-Identifier: BSD-3-Clause

// The steps of an executor's shutdown that a pool does not have: drop, ask, kill.

#include "pools/process/supervisor_actor.hpp"

#include <vector>

namespace troupe::detail {

void supervisor::cancel_waiting() {
  for (const auto& [id, worker] : workers_) {
    take_back(*worker);
  }
  fail_everything(errc::cancelled,
                  "cancelled: " + core_.title() + " was shut down before it began");
  dispatch_due_ = true;
}

void supervisor::ask_all_to_stop() {
  for (const auto& [id, worker] : workers_) {
    if (!worker->sent.empty()) {
      worker->channel->request_stop(worker->sent.front().number + worker->sent.front().done);
    }
  }
}

void supervisor::kill_all() {
  terminate();
  std::vector<worker_record*> all;
  for (const auto& [id, worker] : workers_) {
    all.push_back(worker.get());
  }
  for (worker_record* const worker : all) {
    kill_worker(*worker, "all workers were to be killed");
  }
}

std::uint64_t supervisor::processes() const {
  return workers_.size();
}

}  // namespace troupe::detail
