// SPDX-License-Identifier: BSD-3-Clause

// Attempts after the first, and what ends a task from outside: deadlines.

#include "troupe/policy.hpp"

#include "pools/process/supervisor_actor.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

void supervisor::conclude(const task_range& what, std::uint32_t item,
                          std::shared_ptr<const failure> why) {
  const std::shared_ptr<process_submission>& work = what.work;
  const task_options& how = work->options();
  const bool wanted = how.retry_if ? true : why->code == errc::worker_lost;
  const std::uint32_t charged = what.attempt - what.forgiven;
  if (!wanted || how.retries == 0 || charged > static_cast<std::uint32_t>(how.retries) ||
      why->code == errc::cancelled || work->overdue ||
      (state_ != state::open && state_ != state::closing) ||
      (work->group && work->group->cuts(*work, item))) {
    settle_failure(*work, item, why);
    return;
  }
  const std::uint64_t id = next_retry_++;
  pending_retries_.emplace(id,
                           pending_retry{{work, item, 1, what.attempt + 1, what.forgiven}, why});
  ++stats_.pending_retries;
  if (!how.retry_if) {
    try_again(id);
    return;
  }
  core_.callback_executor()([weak = core_.weak_from_this(), work = work, why, id] {
    bool again = false;
    try {
      again = work->options().retry_if(*to_error(*why));
    } catch (...) {
      report_callback(std::current_exception());
    }
    if (const auto core = weak.lock()) {
      core->ask([id, again](supervisor& s) { again ? s.try_again(id) : s.give_up(id); });
    }
  });
}

void supervisor::try_again(std::uint64_t pending_retries) {
  const auto found = pending_retries_.find(pending_retries);
  if (found == pending_retries_.end()) {
    return;  // cancelled, or past its deadline, meanwhile
  }
  task_range& what = found->second.what;
  const auto delay =
      retry_delay(what.work->options().backoff, std::max(1U, what.attempt - 1 - what.forgiven));
  if (delay.count() > 0) {
    set_timer(later(core_.host().now(), delay), timer::retry, {0, pending_retries});
    return;
  }
  requeue(pending_retries);
}

void supervisor::requeue(std::uint64_t pending_retries) {
  auto found = pending_retries_.extract(pending_retries);
  if (found.empty()) {
    return;
  }
  --stats_.pending_retries;
  ++stats_.retried;
  if (const auto& group = found.mapped().what.work->group) {
    ++group->retried_items;
  }
  if (const failure& last = *found.mapped().last; last.code == errc::worker_lost) {
    const task_range& what = found.mapped().what;
    what.work->note_lost_attempt(what.first, end_of_attempt(last));
  }
  std::vector<task_range> again;
  again.push_back(std::move(found.mapped().what));
  enqueue_front(std::move(again));
  dispatch_due_ = true;
}

void supervisor::give_up(std::uint64_t pending_retries) {
  auto found = pending_retries_.extract(pending_retries);
  if (!found.empty()) {
    --stats_.pending_retries;
    const task_range& what = found.mapped().what;
    settle_failure(*what.work, what.first, found.mapped().last);
  }
}

void supervisor::drop_retries(const std::function<bool(const task_range&)>& which,
                              const std::shared_ptr<const failure>& why) {
  std::vector<task_range> ended;
  for (auto it = pending_retries_.begin(); it != pending_retries_.end();) {
    if (which(it->second.what)) {
      ended.push_back(std::move(it->second.what));
      it = pending_retries_.erase(it);
      --stats_.pending_retries;
    } else {
      ++it;
    }
  }
  for (const task_range& what : ended) {
    settle_failure(*what.work, what.first, why);
  }
}

void supervisor::watch_deadline(const std::shared_ptr<process_submission>& work) {
  constexpr std::size_t least_worth_purging = 1024;
  const auto due = later(core_.host().now(), *work->options().deadline);
  if (due == steady_time::max()) {
    return;
  }
  if (dues_.size() >= purge_dues_at_) {
    std::erase_if(dues_, [](const auto& one) {
      const auto waiting = one.second.lock();
      return !waiting || waiting->done();
    });
    purge_dues_at_ = std::max(least_worth_purging, 2 * dues_.size());
  }
  dues_.emplace(due, work);
  if (due < due_timer_) {
    due_timer_ = due;
    set_timer(due, timer::due);
  }
}

void supervisor::on_due_timer() {
  const auto now = core_.host().now();
  while (!dues_.empty() && dues_.begin()->first <= now) {
    const auto work = dues_.begin()->second.lock();
    dues_.erase(dues_.begin());
    if (work && !work->done()) {
      expire(work);
    }
  }
  due_timer_ = dues_.empty() ? steady_time::max() : dues_.begin()->first;
  if (!dues_.empty()) {
    set_timer(due_timer_, timer::due);
  }
}

void supervisor::expire(const std::shared_ptr<process_submission>& work) {
  work->overdue = true;
  auto why = std::make_shared<failure>();
  why->code = errc::timeout;
  why->ran = task_ran::no;
  why->task = work->number;
  why->text = work->name() + " had not begun by its deadline of " +
              std::to_string(work->options().deadline->count()) + " ms after it was submitted";
  drop_retries([&](const task_range& what) { return what.work == work; }, why);
  const auto of_work = [&](const sent_range& sent) { return sent.what.work == work; };
  for (worker_record* worker : std::vector<worker_record*>{ring_}) {
    if (std::any_of(worker->sent.begin(), worker->sent.end(), of_work)) {
      take_back(*worker);
    }
    for (const sent_range& sent : worker->sent) {
      if (of_work(sent)) {
        stop_task(*worker, sent.number + sent.done, stop_reason::overdue, grace_of(*work));
      }
    }
  }
  each_queue([&](std::deque<task_range>& waiting) {
    std::erase_if(waiting, [&](const task_range& what) {
      if (what.work != work || work->done() || work->decided(what.first)) {
        return false;
      }
      queued_ -= what.count;
      core_.note_dequeued(what.count);
      for (std::uint32_t i = 0; i < what.count; ++i) {
        settle_failure(*work, what.first + i, why);
      }
      return true;
    });
  });
}

void supervisor::stop_task(worker_record& worker, std::uint64_t number, stop_reason why,
                           std::chrono::milliseconds grace) {
  request_stop(worker, number);
  if (worker.stop_reasons.emplace(number, why).second) {
    set_timer(later(core_.host().now(), grace), timer::task_grace, {worker.id, number});
  }
}

void supervisor::request_stop(worker_record& worker, std::uint64_t number) {
  // Whether it is a coroutine, only its worker knows: that finds one by its frame, the others by
  // the word.
  worker.channel->request_stop(number);
  if (worker.stops.insert(number).second) {
    worker.stops_due.push_back(number);
    send_stops(worker);
  }
}

void supervisor::send_stops(worker_record& worker) {
  bool sent = false;
  for (; !worker.stops_due.empty(); worker.stops_due.pop_front()) {
    if (worker.channel->begin_frame(0) == nullptr) {
      if (!worker.unblock_timer) {
        worker.unblock_timer = true;
        set_timer(later(core_.host().now(), std::chrono::milliseconds{1}), timer::unblock,
                  {worker.id, 0});
      }
      break;
    }
    worker.channel->publish({0, frame_kind::stop_task, 0, worker.stops_due.front()});
    sent = true;
  }
  if (sent) {
    worker.channel->ring_bell();
  }
}

void supervisor::watch_limit(worker_record& worker, steady_time first) {
  // A timer that is too early looks again; a new one is needed only for what is due before it.
  if (first < worker.deadline_timer) {
    worker.deadline_timer = first;
    set_timer(first, timer::task_limit, {worker.id, 0});
  }
}

void supervisor::on_task_limit(worker_record& worker) {
  const auto now = core_.host().now();
  if (worker.deadline_timer <= now) {
    worker.deadline_timer = steady_time::max();
  }
  bool some = false;
  steady_time first = steady_time::max();
  for (auto it = worker.deadlines.begin(); it != worker.deadlines.end();) {
    const sent_range* const sent = it->second <= now ? find_sent(worker, it->first) : nullptr;
    if (sent != nullptr) {
      stop_task(worker, it->first, stop_reason::timeout, grace_of(*sent->what.work));
      some = true;
    }
    if (it->second <= now) {
      it = worker.deadlines.erase(it);
    } else {
      first = std::min(first, it->second);
      ++it;
    }
  }
  if (some) {
    take_back(worker);
  }
  watch_limit(worker, first);
}

std::string supervisor::overrun(const process_submission& work, stop_reason why) const {
  return why == stop_reason::overdue
             ? work.name() + " was not done by its deadline of " +
                   std::to_string(work.options().deadline->count()) + " ms after it was submitted"
             : work.name() + " ran longer than its timeout of " +
                   std::to_string(work.options().timeout->count()) + " ms";
}

}  // namespace troupe::detail
