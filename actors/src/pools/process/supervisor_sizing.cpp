// SPDX-License-Identifier: BSD-3-Clause

// How many workers there are, and which of them go though they did nothing wrong.

#include "troupe/log.hpp"

#include "pools/process/supervisor_actor.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

/// Memory is looked at after a task, but not more often than this while a worker is busy.
constexpr auto memory_interval = 20ms;

}  // namespace

void supervisor::maintain() {
  if (relaunch_at_ || (state_ == state::closing && !work_left())) {
    return;
  }
  int have = 0;
  for (const auto& [id, worker] : workers_) {
    have += worker->staying() ? 1 : 0;
  }
  // Also while the pool starts: of those that are there already, one may die.
  while (have < target_ + extra_ && !relaunch_at_ &&
         (state_ == state::starting || state_ == state::open || state_ == state::closing)) {
    launch_worker();
    ++have;
  }
}

void supervisor::retire(worker_record& worker, retirement why) {
  if (worker.phase != worker_phase::ready || worker.leaving) {
    return;
  }
  worker.phase = worker_phase::retiring;
  worker.retiring_for = why;
  some_retire_ = true;
  unbind(worker);
  take_back(worker);
  count_ready();
}

void supervisor::retire_drained() {
  const std::uint64_t limit = task_limit();
  if (limit == UINT64_MAX && !some_retire_) {
    return;
  }
  some_retire_ = false;
  for (worker_record* worker : ring_) {
    if (worker->phase == worker_phase::ready && worker->assigned >= limit) {
      worker->phase = worker_phase::retiring;
      worker->retiring_for = retirement::tasks;
      unbind(*worker);
    } else if (worker->phase == worker_phase::retiring &&
               worker->retiring_for == retirement::tasks && worker->assigned < limit) {
      worker->phase = worker_phase::ready;  // tasks were taken back from it
      worker->retiring_for = retirement::none;
    }
    some_retire_ = some_retire_ || worker->phase == worker_phase::retiring;
  }
  if (!some_retire_) {
    return;
  }
  maintain();
  int ready = 0;
  bool starting = false;
  for (const worker_record* worker : ring_) {
    ready += worker->usable() ? 1 : 0;
    starting = starting || worker->phase == worker_phase::starting;
  }
  for (worker_record* worker : std::vector<worker_record*>{ring_}) {
    // The replacement is there before the old one goes.
    if (worker->phase == worker_phase::retiring && worker->outstanding == 0 && !worker->leaving &&
        (worker->retiring_for == retirement::surplus || ready >= target_ || !starting)) {
      stop_worker(*worker);
    }
  }
  count_ready();
}

std::uint64_t supervisor::task_limit() const {
  return options_.max_tasks_per_worker ? static_cast<std::uint64_t>(*options_.max_tasks_per_worker)
                                       : UINT64_MAX;
}

void supervisor::check_memory(worker_record& worker) {
  const auto now = core_.host().now();
  if (worker.phase != worker_phase::ready ||
      (worker.outstanding > 0 && now - worker.memory_checked < memory_interval)) {
    return;
  }
  worker.memory_checked = now;
  const std::uint64_t resident = core_.host().resident_bytes(worker.pid);
  if (resident > *options_.max_worker_rss) {
    log(log_level::info,
        "worker " + std::to_string(worker.id) + " (pid " + std::to_string(worker.pid) + ") of " +
            core_.title() + " is recycled: it holds " + std::to_string(resident) +
            " bytes of memory, the limit is " + std::to_string(*options_.max_worker_rss));
    retire(worker, retirement::memory);
  }
}

void supervisor::resize(int workers) {
  if (state_ != state::open) {
    return;
  }
  least_ = most_ = target_ = workers;
  core_.note_size(most_);
  maintain();
  shed_surplus();
  dispatch_due_ = true;
}

void supervisor::grow() {
  if (!elastic() || target_ >= most_ || state_ == state::starting || next_range() == nullptr ||
      std::any_of(ring_.begin(), ring_.end(), [](const worker_record* worker) {
        return worker->phase == worker_phase::starting;
      })) {
    return;
  }
  // Doubles at most, so that a burst of short tasks does not start everything there is.
  const auto wanted = static_cast<int>(
      std::min<std::uint64_t>(queued_, static_cast<std::uint64_t>(std::max(target_, 1))));
  target_ = std::min(most_, target_ + std::max(wanted, 1));
  maintain();
}

void supervisor::shed_surplus() {
  int surplus = -(target_ + extra_);
  std::vector<worker_record*> ready;
  for (worker_record* worker : ring_) {
    surplus += worker->staying() ? 1 : 0;
    if (worker->usable()) {
      ready.push_back(worker);
    }
  }
  if (surplus <= 0) {
    return;
  }
  // Those with the least to do first; of equals the youngest, whose caches are the coldest.
  std::sort(ready.begin(), ready.end(), [](const worker_record* a, const worker_record* b) {
    return a->outstanding != b->outstanding ? a->outstanding < b->outstanding : a->id > b->id;
  });
  for (worker_record* worker : ready) {
    if (surplus-- <= 0) {
      break;
    }
    retire(*worker, retirement::surplus);
  }
  retire_drained();
}

void supervisor::watch_idle() {
  if (!elastic() || idle_timer_ || target_ <= least_ || state_ != state::open) {
    return;
  }
  steady_time first = steady_time::max();
  for (const worker_record* worker : ring_) {
    if (worker->usable() && worker->outstanding == 0) {
      first = std::min(first, later(worker->last_progress, options_.idle_timeout));
    }
  }
  if (first != steady_time::max()) {
    idle_timer_ = true;
    set_timer(first, timer::idle);
  }
}

void supervisor::on_idle_timer() {
  idle_timer_ = false;
  if (state_ != state::open || !elastic()) {
    return;
  }
  const auto now = core_.host().now();
  for (worker_record* worker : std::vector<worker_record*>{ring_}) {
    if (target_ > least_ && worker->usable() && worker->outstanding == 0 && worker->own.empty() &&
        later(worker->last_progress, options_.idle_timeout) <= now) {
      --target_;
      retire(*worker, retirement::surplus);
    }
  }
  retire_drained();
  dispatch_due_ = true;
}

void supervisor::count_ready() {
  std::uint64_t ready = 0;
  for (const worker_record* worker : ring_) {
    ready += worker->usable() ? 1 : 0;
  }
  stats_.workers = ready;
}

}  // namespace troupe::detail
