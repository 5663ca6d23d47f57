// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_reliefs.hpp"

#include <utility>

namespace troupe::detail {

bool thread_reliefs::stop_at(state now) noexcept {
  return std::exchange(state_, now) == state::come;
}

std::shared_ptr<thread_submission> thread_reliefs::find(const worker_seat* self,
                                                        const worker_table& workers,
                                                        const thread_queue& queue,
                                                        released_submissions& looked_at) {
  if (needed_.empty()) {
    return nullptr;
  }
  const bool others_blocked = !workers.takes_tasks_beside(self);
  return needed_.find(
      [&](const thread_submission& one) { return others_blocked && queue.can_begin(one); },
      [&](const thread_submission& one) {
        return workers.any_of([&](const worker_seat& to) {
          // Between two attempts it may still name one that has left.
          return &to == one.bound_to && thread_queue::can_begin_in(to, one) &&
                 // On the stack of a worker that is no relief only what is bound to that one.
                 (self == nullptr || self->relief ? to.blocked : &to == self);
        });
      },
      looked_at);
}

thread_reliefs::decision thread_reliefs::decide(const worker_table& workers,
                                                const thread_queue& queue,
                                                released_submissions& looked_at) {
  if (needed_.empty()) {
    return {};
  }
  for (const auto& each : workers.all()) {
    if (each->relief && !each->leaving && !each->blocked) {
      return {step::call, each.get()};
    }
  }
  if (!find(nullptr, workers, queue, looked_at)) {
    return {};
  }
  return {state_ != state::fail && workers.reliefs() < most ? step::start : step::refuse, nullptr};
}

}  // namespace troupe::detail
