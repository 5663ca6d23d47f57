// SPDX-License-Identifier: BSD-3-Clause
#include "pools/workers/worker_control.hpp"

#include <chrono>
#include <csignal>
#include <utility>
#include <vector>

namespace troupe::detail {

void worker_control::take_back(worker_record& worker) {
  const std::uint64_t first = worker.channel->revoke(worker.sent.next_number());
  std::vector<task_range> returned = worker.sent.take_back(first);
  for (auto it = returned.rbegin(); it != returned.rend(); ++it) {
    state_.counts.running -= it->count;
    state_.enqueue_again(std::move(*it));
  }
}

void worker_control::unbind(worker_record& worker) {
  if (state_.queue.unbind(worker.id)) {
    state_.dispatch_due = true;
  }
}

void worker_control::request_stop(worker_record& worker, std::uint64_t number) {
  // Only the worker knows whether the task is a coroutine: a coroutine is stopped by the frame, any
  // other task by the word.
  worker.channel->request_stop(number);
  if (worker.stops.asked.insert(number).second) {
    worker.stops.unsent.push_back(number);
    send_stops(worker);
  }
}

void worker_control::send_stops(worker_record& worker) {
  bool sent = false;
  for (auto& unsent = worker.stops.unsent; !unsent.empty(); unsent.pop_front()) {
    if (worker.channel->begin_frame(0) == nullptr) {
      unblock_later(worker);
      break;
    }
    worker.channel->publish({0, frame_kind::stop_task, 0, unsent.front()});
    sent = true;
  }
  if (worker.room.stop_due) {
    // What was taken back from it fills its ring until it has read it.
    if (worker.channel->begin_frame(0) == nullptr) {
      unblock_later(worker);
    } else {
      worker.channel->publish({0, frame_kind::stop, 0, 0});
      worker.room.stop_due = false;
      sent = true;
    }
  }
  if (sent) {
    worker.channel->ring_bell();
  }
}

void worker_control::unblock_later(worker_record& worker) {
  if (!worker.room.unblock_timer) {
    worker.room.unblock_timer = true;
    state_.set_timer(later(state_.now(), std::chrono::milliseconds{1}), timer::unblock, worker.id);
  }
}

void worker_control::stop(worker_record& worker) {
  worker.phase = worker_phase::stopping;
  unbind(worker);
  worker.room.stop_due = true;
  send_stops(worker);
  state_.set_timer(later(state_.now(), state_.options.grace), timer::worker_grace, worker.id);
}

void worker_control::abandon(worker_record& worker) {
  worker.leaving = true;
  unbind(worker);
  take_back(worker);
  count_ready();
}

void worker_control::kill(worker_record& worker, std::string because) {
  if (worker.notes.killed_because.empty()) {
    worker.notes.killed_because = std::move(because);
  }
  if (!worker.leaving) {
    ++killed_;
    abandon(worker);
  }
  state_.host.signal(worker.id, SIGKILL);
}

}  // namespace troupe::detail
