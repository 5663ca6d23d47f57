// SPDX-License-Identifier: BSD-3-Clause
#include "pools/supervisor/task_stopper.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace troupe::detail {

bool task_stopper::cancel(process_submission& which, bool force) {
  if (which.done()) {
    return false;
  }
  if (state_.counts.pending_retries > 0) {
    auto why = plain_failure(errc::cancelled, task_ran::maybe,
                             which.name() + " was cancelled between two attempts");
    why->task = which.number;
    ledger_.drop_retries(which, why);
    if (which.done()) {
      return true;
    }
  }
  for (worker_record* worker : state_.workers) {
    if (worker->sent.has(which)) {
      control_.take_back(*worker);
    }
  }
  if (which.with_workers == 0) {
    ledger_.cancel_waiting(which);
    return true;
  }
  for (worker_record* worker : state_.workers) {
    for (const sent_range& sent : worker->sent.all()) {
      if (sent.what.work.get() != &which) {
        continue;
      }
      const std::uint64_t number = sent.last_begun(worker->channel->undecided());
      if (force) {
        stop(*worker, number, stop_reason::cancelled, state_.grace_of(which));
      } else {
        control_.request_stop(*worker, number);
      }
    }
  }
  return false;
}

void task_stopper::sweep(const std::shared_ptr<submission_group>& group) {
  const auto of_group = [&](const sent_range& sent) {
    return sent.what.work && sent.what.work->group == group;
  };
  for (worker_record* worker : state_.workers) {
    const auto& sent = worker->sent.all();
    if (std::any_of(sent.begin(), sent.end(), of_group)) {
      control_.take_back(*worker);
    }
  }
  const std::shared_ptr<const failure> why = plain_failure(
      errc::cancelled, task_ran::no,
      "cancelled before it began: another item of its map failed, or the map was given up");
  ledger_.cut_retries(*group, why);
  std::vector<task_range> cut;
  state_.queue.sweep([&](task_range& what) {
    if (what.work->group != group || what.is_over()) {
      return true;
    }
    std::uint32_t keep = 0;  // items before the cut
    while (keep < what.count && !group->cuts(*what.work, what.first + keep)) {
      ++keep;
    }
    if (keep == what.count) {
      return true;
    }
    task_range kept = what.split(keep);
    cut.push_back(std::exchange(what, std::move(kept)));
    return keep > 0;
  });
  for (task_range& what : cut) {
    ledger_.fail_waiting(what, why);
  }
  state_.dispatch_due = true;
}

void task_stopper::accept(const std::shared_ptr<process_submission>& work) {
  if (work->options().deadline) {
    ledger_.set_deadline(work);
    watch_limits();
  }
}

const std::shared_ptr<begun_task>& task_stopper::limited(worker_record& worker,
                                                         std::uint64_t number) {
  auto& found = worker.stops.limited[number];
  if (!found) {
    found = std::make_shared<begun_task>(begun_task{worker.id, number});
  }
  return found;
}

void task_stopper::on_begin(worker_record& worker, std::uint64_t number,
                            const process_submission& work) {
  if (work.options().timeout) {
    limits_.begin_attempt(limited(worker, number), 0, 0, state_.now(), *work.options().timeout,
                          state_.grace_of(work));
    watch_limits();
  }
}

void task_stopper::on_end(worker_record& worker, std::uint64_t number) {
  stop_orders& orders = worker.stops;
  if (!orders.reasons.empty()) {
    orders.reasons.erase(number);
  }
  if (!orders.asked.empty()) {
    orders.asked.erase(number);
  }
  if (orders.limited.empty()) {
    return;
  }
  if (const auto found = orders.limited.find(number); found != orders.limited.end()) {
    limits_.forget(*found->second);
    orders.limited.erase(found);
  }
}

void task_stopper::on_death(worker_record& worker) {
  for (const auto& [number, task] : worker.stops.limited) {
    limits_.forget(*task);
  }
  worker.stops.limited.clear();
}

void task_stopper::stop(worker_record& worker, std::uint64_t number, stop_reason why,
                        std::chrono::milliseconds grace) {
  control_.request_stop(worker, number);
  if (worker.stops.reasons.emplace(number, why).second) {
    limits_.give_up_at(limited(worker, number), later(state_.now(), grace));
    watch_limits();
  }
}

void task_stopper::watch_limits() {
  const auto first = std::min(limits_.next().value_or(steady_time::max()),
                              ledger_.next_deadline().value_or(steady_time::max()));
  // A timer that is too early looks again; a new one is needed only for what is due before it.
  if (first < timer_) {
    timer_ = first;
    state_.set_timer(first, timer::limits);
  }
}

void task_stopper::on_timer() {
  const steady_time now = state_.now();
  if (timer_ <= now) {
    timer_ = steady_time::max();
  }
  while (const auto work = ledger_.take_overdue(now)) {
    expire(work);
  }
  while (const auto reached = limits_.take(now)) {
    on_limit(*reached);
  }
  watch_limits();
}

void task_stopper::on_limit(const begun_limits::due& reached) {
  const std::uint64_t number = reached.task->number;
  worker_record* const worker = state_.workers.find(reached.task->worker);
  if (worker == nullptr) {
    return;
  }
  if (reached.what == begun_limits::step::ask_to_stop) {
    control_.request_stop(*worker, number);
    worker->stops.reasons.emplace(number, stop_reason::timeout);
    control_.take_back(*worker);
    return;
  }
  const stop_reason* const why = worker->stops.reason(number);
  if (why == nullptr) {
    return;
  }
  const bool cancelled = *why == stop_reason::cancelled;
  worker->stops.killed_for = number;
  control_.kill(*worker,
                cancelled ? "its task was cancelled by force" : "its task ran out of time");
}

void task_stopper::expire(const std::shared_ptr<process_submission>& work) {
  work->overdue = true;
  auto made = plain_failure(errc::timeout, task_ran::no,
                            work->name() + " had not begun by its deadline of " +
                                std::to_string(work->options().deadline->count()) +
                                " ms after it was submitted");
  made->task = work->number;
  const std::shared_ptr<const failure> why = std::move(made);
  if (state_.counts.pending_retries > 0) {
    ledger_.drop_retries(*work, why);
  }
  std::set<std::uint32_t> begun;  // items: one may run, and results of others are on their way
  for (worker_record* worker : state_.workers) {
    if (!worker->sent.has(*work)) {
      continue;
    }
    control_.take_back(*worker);
    for (const sent_range& sent : worker->sent.all()) {
      if (sent.what.work != work) {
        continue;
      }
      for (std::uint32_t done = sent.done; done < sent.what.count; ++done) {
        begun.insert(sent.what.first + done);
      }
      stop(*worker, sent.last_begun(worker->channel->undecided()), stop_reason::overdue,
           state_.grace_of(*work));
    }
  }
  ledger_.fail_all_but(*work, begun, why);
}

}  // namespace troupe::detail
