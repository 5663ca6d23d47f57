// SPDX-License-Identifier: BSD-3-Clause
#include "pools/supervisor/supervisor.hpp"

#include "troupe/detail/futex.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

void ask_supervisor::end(bool is_answered) noexcept {
  // The asker may be gone right after the store; only the address is used then.
  auto& answered = std::exchange(what_, nullptr)->answered;
  if (answered.exchange(is_answered ? question::yes : question::never, std::memory_order_acq_rel) ==
      question::waited_for) {
    futex_wake_all(answered);
  }
}

supervisor::supervisor(pool_face& pool)
    : state_{pool},
      ledger_{state_},
      control_{state_},
      stopper_{state_, ledger_, control_},
      life_{state_, ledger_, control_},
      fleet_{state_, control_, life_},
      dispatcher_{state_, ledger_, control_, fleet_.size()},
      nested_{state_, ledger_, control_, stopper_, fleet_, dispatcher_, last_number_},
      reader_{state_, ledger_, control_, stopper_, fleet_, dispatcher_, nested_},
      losses_{state_, ledger_, control_, stopper_, fleet_, nested_, reader_} {}

supervisor::~supervisor() {
  for (const worker_record* worker : state_.workers) {
    state_.host.unwatch(worker->channel->socket());
    state_.host.dismiss(worker->id);
  }
}

void supervisor::handle(supervisor_message& what) {
  std::visit([this](auto& message) { on(message); }, what);
  if (auto* const asked = std::get_if<ask_supervisor>(&what)) {
    finish_turn();
    asked->end(true);
    return;
  }
  finish_turn();
}

void supervisor::on(ask_supervisor& message) {
  message.what().answer(*this);
}

void supervisor::on(const channel_ready& message) {
  if (worker_record* const worker = state_.workers.find(message.worker)) {
    reader_.service(*worker);
  }
}

void supervisor::on(const worker_started& message) {
  if (worker_record* const worker = state_.workers.find(message.worker)) {
    worker->pid = message.pid;
  }
}

void supervisor::on(const start_failed& message) {
  losses_.on_start_failed(message.worker, message.code);
}

void supervisor::on(const worker_exited& message) {
  losses_.on_exit(message.worker, message.how);
}

void supervisor::on(look_for_results /*message*/) {
  read_results();
}

void supervisor::read_results() {
  for (worker_record* const worker : state_.workers.copy()) {
    if (worker->sent.outstanding() > 0 && worker->channel->readable()) {
      reader_.service(*worker);
    }
  }
}

void supervisor::on(const retry_answered& message) {
  ledger_.answer_retry(message.number, message.again);
}

void supervisor::on(run_task& message) {
  const std::shared_ptr<process_submission> work = std::move(message.work);
  if (!work->take()) {
    return;  // the thread that submitted it has seen that the pool has ended
  }
  work->number = ++last_number_;
  state_.counts.submitted += work->count;
  if (life_.refuse(*work)) {
    return;
  }
  const int priority = work->options().priority;
  if (state_.queue.may_overtake(priority)) {
    // Tasks that were sent ahead and have not begun must not run before it.
    for (worker_record* worker : state_.workers) {
      if (worker->sent.outstanding() > 1 && worker->sent.all().back().what.priority() < priority) {
        control_.take_back(*worker);
      }
    }
  }
  stopper_.accept(work);
  if (work->group && work->group->cancelled) {
    ledger_.cut_off(work->group);  // it was on its way when its map was cut off
  }
  const std::uint32_t count = work->count;
  state_.enqueue({work, 0, count, {}});
}

void supervisor::on(const time_passed& message) {
  switch (message.what) {
    case timer::relaunch:
      fleet_.on_relaunch();
      break;
    case timer::balance:
      dispatcher_.on_balance_timer(fleet_.may_grow());
      break;
    case timer::idle:
      fleet_.on_idle_timer();
      break;
    case timer::limits:
      // After a pause of this process timers come before the frames that arrived meanwhile.
      read_results();
      stopper_.on_timer();
      break;
    case timer::retry:
      ledger_.on_retry_timer();
      break;
    default:
      if (worker_record* const worker = state_.workers.find(message.worker)) {
        on_worker_timer(*worker, message.what);
      }
  }
}

void supervisor::on_worker_timer(worker_record& worker, timer what) {
  switch (what) {
    case timer::start_limit:
      if (worker.phase == worker_phase::starting) {
        reader_.service(worker);  // as for `timer::limits`
      }
      if (worker.phase == worker_phase::starting) {
        if (!worker.notes.start_failure) {  // otherwise it has said why, and is about to leave
          worker.notes.start_failure = plain_failure(
              errc::start_timeout, task_ran::no,
              "a worker of " + state_.face.title() + " (pid " + std::to_string(worker.pid) +
                  ") was not ready within " + std::to_string(state_.options.start_timeout.count()) +
                  " ms: raise .start_timeout, or look at what its initializer does");
        }
        control_.kill(worker, "it was not ready in time");
      }
      break;
    case timer::worker_grace:
      reader_.service(worker);  // as for `timer::limits`
      control_.kill(worker, "it did not leave within the grace time");
      break;
    case timer::unblock:
      worker.room.unblock_timer = false;
      nested_.send_outcomes(worker);
      dispatcher_.unblock(worker);
      control_.send_stops(worker);
      break;
    case timer::age:
      fleet_.on_age(worker);
      break;
    default:
      break;
  }
}

void supervisor::dispatch() {
  state_.dispatch_due = false;
  if (state_.serving()) {
    if (const auto why = fleet_.take_shortage()) {
      nested_.fail_stranded(*why);
    }
    dispatcher_.send_waiting();
    fleet_.retire_drained();
    nested_.compensate();
    fleet_.grow();
    fleet_.watch_idle();
  }
  dispatcher_.watch_balance(fleet_.may_grow());
}

void supervisor::finish_turn() {
  // Again after a dispatch: tasks may fail while they are sent, and tasks that waited for a worker
  // at its task limit may go to others.
  for (;;) {
    if (const auto group = ledger_.take_cut_off()) {
      stopper_.sweep(group);
    } else if (state_.dispatch_due) {
      dispatch();
    } else {
      break;
    }
  }
  life_.check_finished();
}

void supervisor::cancel_group(const std::shared_ptr<submission_group>& group) {
  group->cut_after(0, 0);  // submissions are numbered from 1
  stopper_.sweep(group);
}

std::uint64_t supervisor::with_workers(const submission_group& group) const {
  std::uint64_t items = 0;
  for (const worker_record* worker : state_.workers) {
    for (const sent_range& sent : worker->sent.all()) {
      items += sent.what.work && sent.what.work->group.get() == &group ? sent.left() : 0;
    }
  }
  return items;
}

std::uint64_t supervisor::not_begun() const {
  std::uint64_t items = state_.counts.queued;
  for (const worker_record* worker : state_.workers) {
    const std::uint64_t undecided = worker->channel->undecided();
    for (const sent_range& sent : worker->sent.all()) {
      const std::uint64_t next = sent.next_number();
      items += sent.left() - std::min<std::uint64_t>(sent.left(), std::max(undecided, next) - next);
    }
  }
  return items;
}

bool supervisor::is_running(const process_submission& which) const {
  if (which.with_workers == 0) {
    return false;
  }
  for (const worker_record* worker : state_.workers) {
    for (const sent_range& sent : worker->sent.all()) {
      if (sent.what.work.get() == &which && sent.next_number() < worker->channel->undecided()) {
        return true;
      }
    }
  }
  return false;
}

std::vector<worker_info> supervisor::workers() const {
  std::vector<worker_info> found;
  for (const worker_record* worker : state_.workers) {
    if (worker->usable()) {
      found.push_back({worker->id, worker->pid});
    }
  }
  return found;
}

}  // namespace troupe::detail
