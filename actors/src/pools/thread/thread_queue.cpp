// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_queue.hpp"

#include <string>
#include <utility>

namespace troupe::detail {

void thread_queue::note_first(std::atomic<int>& urgency, const task_lanes& lanes) noexcept {
  const int now = lanes.priority();
  if (urgency.load(std::memory_order_relaxed) != now) {
    urgency.store(now, std::memory_order_relaxed);  // written only if changed: all threads read it
  }
}

void thread_queue::raise(std::atomic<int>& urgency, int priority) noexcept {
  if (priority > urgency.load(std::memory_order_relaxed)) {
    urgency.store(priority, std::memory_order_relaxed);
  }
}

worker_seat* thread_queue::push_new(std::shared_ptr<thread_submission> submission,
                                    worker_table& workers) {
  submission->number = count_.submit(submission->count());
  return push(std::move(submission), workers);
}

worker_seat* thread_queue::push_retry(claimed_items item, worker_table& workers) {
  count_.came_back(1);
  return push_again(std::move(item), workers);
}

worker_seat* thread_queue::push(std::shared_ptr<thread_submission> submission,
                                worker_table& workers) {
  const std::string& key = submission->options().affinity;
  const int priority = submission->options().priority;
  if (key.empty()) {
    lanes_.push(std::move(submission));
    raise(urgency_, priority);
    return nullptr;
  }
  worker_seat& to = workers.bound_to(key);
  submission->bound_to = &to;
  to.own.push(std::move(submission));
  raise(to.urgency, priority);
  return &to;
}

worker_seat* thread_queue::push_again(claimed_items item, worker_table& workers) {
  const std::string& key = item.submission->options().affinity;
  const int priority = item.submission->options().priority;
  if (key.empty()) {
    item.submission->bound_to = nullptr;
    lanes_.push_again(std::move(item));
    raise(urgency_, priority);
    return nullptr;
  }
  worker_seat& to = workers.bound_to(key);
  item.submission->bound_to = &to;
  to.own.push_again(std::move(item));
  raise(to.urgency, priority);
  return &to;
}

bool thread_queue::claim_next(worker_seat& self, claimed_items& into,
                              released_submissions& released) {
  for (;;) {
    note_first(urgency_, lanes_);
    note_first(self.urgency, self.own);
    const bool of_its_own = !self.own.empty() && self.own.priority() >= lanes_.priority();
    task_lanes& from = of_its_own ? self.own : lanes_;
    if (from.empty()) {
      return false;
    }
    if (from.claim(into, released)) {
      count_.left(into.count);
      return true;
    }
  }
}

bool thread_queue::claim_from(const std::shared_ptr<thread_submission>& wanted,
                              claimed_items& into) {
  // It is among the tasks of a worker only while that worker has its seat.
  task_lanes& from = wanted->bound_to != nullptr
                         ? static_cast<worker_seat*>(const_cast<void*>(wanted->bound_to))->own
                         : lanes_;
  const std::uint32_t first = wanted->unclaimed() > 0 ? wanted->claim() : wanted->count();
  if (first < wanted->count()) {
    into = {wanted, first, std::min(wanted->task_range, wanted->count() - first), false};
  } else if (!wanted->repeats() || !from.claim_again(*wanted, into)) {
    return false;  // a worker that finds it in the queue removes it
  }
  count_.left(into.count);
  return true;
}

void thread_queue::note_cancelled(const worker_table& workers, released_submissions& released) {
  // Not at each one: to count what waits takes a step for every priority of every worker.
  constexpr std::size_t looks_after = 1024;
  if (++cancelled_ % looks_after != 0) {
    return;
  }
  std::size_t waiting = lanes_.size();
  for (const auto& each : workers.all()) {
    waiting += each->own.size();
  }
  if (cancelled_ < waiting / 2) {
    return;
  }
  cancelled_ = 0;
  lanes_.remove_used_up(released);
  note_first(urgency_, lanes_);
  for (const auto& each : workers.all()) {
    each->own.remove_used_up(released);
    note_first(each->urgency, each->own);
  }
}

task_lanes::contents thread_queue::take_all(const worker_table& workers) {
  task_lanes::contents waiting;
  lanes_.take_all(waiting);
  urgency_ = task_lanes::none;
  for (const auto& each : workers.all()) {
    each->own.take_all(waiting);
    each->urgency = task_lanes::none;
  }
  return waiting;
}

}  // namespace troupe::detail
