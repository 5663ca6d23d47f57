// SPDX-License-Identifier: BSD-3-Clause
#include "pools/supervisor/dispatcher.hpp"

#include "os/shortage.hpp"
#include "pools/workers/task_frame.hpp"

#include <algorithm>
#include <cerrno>
#include <string>
#include <tuple>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

/// Tasks that wait behind a running one for longer than this are taken back as soon as another
/// worker is idle.
constexpr auto patience = 1ms;

/// How long tasks wait, when the kernel refuses to send descriptors, until receivers have taken
/// those that are on their way.
constexpr auto shortage_patience = 50ms;

}  // namespace

bool dispatcher::has_room(const worker_record& worker) const {
  if (!worker.usable() || worker.room.blocked || worker.sent.assigned() >= worker.task_limit ||
      worker.is_parent()) {
    return false;
  }
  if (state_.concurrency() > 1 && !worker.stops.reasons.empty()) {
    return false;  // the worker may be killed to end one task, and others would be lost with it
  }
  if (worker.sent.empty() && enough_run()) {
    return false;
  }
  if (worker.sent.outstanding() < state_.concurrency()) {
    return true;
  }
  // Nothing is sent ahead to a worker that runs a long task or begins none: it would wait there in
  // vain.
  return !worker.pace.stalled && turn_begun_ - worker.pace.last_progress < patience &&
         worker.sent.outstanding() < worker.pace.window();
}

bool dispatcher::enough_run() const {
  return running_ && *running_ >= size_.may_run();
}

void dispatcher::count_running() {
  running_.reset();
  if (size_.parents() > 0 || size_.wanted() > size_.target()) {
    running_ = state_.workers.count([](const worker_record* worker) {
      return worker->usable() && !worker->sent.empty() && !worker->is_parent();
    });
  }
}

task_range* dispatcher::next() {
  task_range* const first = state_.queue.next();
  return first != nullptr && size_.may_begin(first->depth()) ? first : nullptr;
}

worker_record* dispatcher::worker_for(const task_range& what) {
  if (what.affinity().empty() || state_.queue.is_bound(what.affinity())) {
    return state_.workers.pick([this](const worker_record& one) { return has_room(one); });
  }
  // A new key stays with its worker, so it goes to an idle one with few keys.
  worker_record* best = nullptr;
  const auto burden = [this](const worker_record& one) {
    const std::uint32_t tasks = one.sent.outstanding();
    return std::tuple{tasks < state_.concurrency() ? 0 : tasks, state_.queue.keys_of(one.id),
                      tasks};
  };
  for (worker_record* const one : state_.workers) {
    if (has_room(*one) && (best == nullptr || burden(*one) < burden(*best))) {
      best = one;
    }
  }
  return best;
}

void dispatcher::unblock(worker_record& worker) {
  worker.room.blocked = false;
  state_.dispatch_due = true;
}

bool dispatcher::may_go_later(int code) {
  if (code == EAGAIN) {
    return true;  // its reader empties the socket before it sleeps
  }
  if (code != ETOOMANYREFS) {
    return false;
  }
  // Receivers usually take soon what is on its way to them.
  const steady_time now = state_.now();
  if (!short_since_) {
    short_since_ = now;
  }
  return now - *short_since_ < shortage_patience;
}

void dispatcher::refuse(const worker_record& worker, task_range& what, int code) {
  task_range one = what.split(1);
  state_.note_dequeued(1);
  auto why =
      plain_failure(errc::resource_exhausted, task_ran::no,
                    one.work->name() + " could not be sent to worker " + std::to_string(worker.id) +
                        " (pid " + std::to_string(worker.pid) + "): " + shortage_text(code));
  why->task = one.work->number;
  why->attempt = one.attempt.number;
  refused_.emplace_back(std::move(one), std::move(why));
}

std::uint32_t dispatcher::items_for(const worker_record& worker, const task_range& what) const {
  // Tasks that end in any order are sent one a frame, so that each has its own range.
  if (what.count == 1 || state_.concurrency() > 1) {
    return 1;
  }
  std::uint32_t count = what.count;
  if (what.work->max_range > 0) {
    count = std::min(count, what.work->max_range);
  } else {
    const std::uint32_t window = worker.pace.window();
    const std::uint64_t fair =
        state_.counts.queued / std::max<std::size_t>(state_.workers.size(), 1);
    count = std::min({count, std::max(1U, window - std::min(window, worker.sent.outstanding())),
                      static_cast<std::uint32_t>(std::clamp<std::uint64_t>(fair, 1, UINT32_MAX))});
  }
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(count, worker.task_limit - worker.sent.assigned()));
}

bool dispatcher::send(worker_record& worker, task_range& what) {
  const task_frame frame{*what.work, what.first, items_for(worker, what), what.attempt.number};
  const task_frame::result sent = frame.send(*worker.channel, worker.sent.next_number());
  if (sent.code == 0 && sent.handed_over) {
    short_since_.reset();
  }
  // To a busy worker it would only be sent ahead, which is never a reason to fail.
  if (sent.code != 0 && sent.had_room && !may_go_later(sent.code) &&
      (sent.code != ETOOMANYREFS || worker.sent.outstanding() < state_.concurrency())) {
    refuse(worker, what, sent.code);
    return true;
  }
  if (sent.code != 0) {
    worker.room.blocked = true;
    // The worker's next result unblocks it; an idle worker with a full socket sends none.
    control_.unblock_later(worker);
    return false;
  }
  if (worker.sent.outstanding() == 0) {
    worker.pace.last_progress = state_.now();
  }
  if (running_ && worker.sent.empty()) {
    ++*running_;
  }
  worker.sent.add(what.split(sent.items));
  worker.room.bell_due = true;
  state_.counts.running += sent.items;
  state_.note_dequeued(sent.items);
  return true;
}

bool dispatcher::send_own() {
  if (!state_.queue.has_lines()) {
    return false;
  }
  bool sent = false;
  for (worker_record* worker : state_.workers) {
    while (has_room(*worker)) {
      task_range* const what = state_.queue.next_of(worker->id);
      if (what == nullptr || !size_.may_begin(what->depth()) || !send(*worker, *what)) {
        break;
      }
      sent = true;
      if (what->count == 0) {
        state_.queue.pop_of(worker->id);
      }
    }
  }
  return sent;
}

void dispatcher::send_waiting() {
  if (state_.counts.running > 0) {
    turn_begun_ = state_.now();
  }
  count_running();
  bool sent = send_own();
  while (task_range* const what = next()) {
    worker_record* const worker = worker_for(*what);
    if (worker == nullptr) {
      break;
    }
    if (!what->affinity().empty()) {
      state_.queue.bind(what->affinity(), worker->id);
    }
    if (send(*worker, *what)) {
      sent = true;
      if (what->count == 0) {
        state_.queue.pop();
      }
    }
  }
  sent = send_own() || sent;
  for (const auto& [what, why] : std::exchange(refused_, {})) {
    ledger_.conclude(what, what.first, why);
  }
  if (sent) {
    for (worker_record* worker : state_.workers) {
      if (std::exchange(worker->room.bell_due, false)) {
        worker->channel->ring_bell();
      }
    }
  }
}

bool dispatcher::has_others(bool may_grow) const {
  return may_grow || size_.may_compensate() || state_.workers.any([this](const worker_record* one) {
    return one->usable() && one->sent.outstanding() < state_.concurrency();
  });
}

void dispatcher::watch_balance(bool may_grow) {
  if (state_.counts.running <= 1 || balance_timer_ || next() != nullptr) {
    return;
  }
  const std::uint32_t busy = state_.concurrency();
  if (has_others(may_grow) && state_.workers.any([=](const worker_record* worker) {
        return worker->sent.outstanding() > busy;
      })) {
    balance_timer_ = true;
    state_.set_timer(state_.now() + patience, timer::balance);
  }
}

void dispatcher::on_balance_timer(bool may_grow) {
  balance_timer_ = false;
  const std::uint32_t busy = state_.concurrency();
  if (next() != nullptr || !state_.serving() || !has_others(may_grow)) {
    return;
  }
  const steady_time now = state_.now();
  bool some_wait = false;
  for (worker_record* worker : state_.workers) {
    if (worker->sent.outstanding() <= busy || !worker->usable()) {
      continue;
    }
    if (now - worker->pace.last_progress >= patience) {
      control_.take_back(*worker);
      worker->pace.stalled = worker->sent.outstanding() == 0;
    } else {
      some_wait = true;
    }
  }
  if (some_wait && !balance_timer_) {
    balance_timer_ = true;
    state_.set_timer(now + patience, timer::balance);
  }
}

}  // namespace troupe::detail
