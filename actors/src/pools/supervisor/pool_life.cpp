// SPDX-License-Identifier: BSD-3-Clause
#include "pools/supervisor/pool_life.hpp"

#include "troupe/log.hpp"

#include <csignal>
#include <utility>

namespace troupe::detail {

void pool_life::open() {
  state_.phase = pool_phase::open;
  state_.face.note_started();
}

void pool_life::close() {
  if (state_.phase == pool_phase::open || state_.phase == pool_phase::starting) {
    state_.phase = pool_phase::closing;
    state_.dispatch_due = true;  // for what was submitted while the pool started
    state_.face.refuse_because(errc::pool_closed,
                               state_.face.title() + " is closed: it takes no more work");
  }
}

void pool_life::take_back_from_all() {
  for (worker_record* worker : state_.workers) {
    control_.take_back(*worker);
  }
}

void pool_life::terminate() {
  if (state_.phase == pool_phase::terminating || state_.phase == pool_phase::finished ||
      state_.phase == pool_phase::broken) {
    return;
  }
  state_.phase = pool_phase::terminating;
  const std::string title = state_.face.title();
  state_.face.refuse_because(errc::pool_closed, title + " was terminated: it takes no more work");
  take_back_from_all();
  ledger_.fail_all_waiting(errc::cancelled,
                           "cancelled: " + title + " was terminated before it began");
  for (worker_record* worker : state_.workers) {
    for (const sent_range& sent : worker->sent.all()) {
      if (sent.what.work) {
        const std::uint64_t number = sent.last_begun(worker->channel->undecided());
        worker->stops.reasons[number] = stop_reason::cancelled;
        control_.request_stop(*worker, number);
      }
    }
    worker->phase = worker_phase::stopping;
    state_.host.signal(worker->id, SIGTERM);
    state_.set_timer(later(state_.now(), state_.options.grace), timer::worker_grace, worker->id);
  }
}

void pool_life::kill() {
  terminate();
  for (worker_record* const worker : state_.workers.copy()) {
    control_.kill(*worker, "all workers were to be killed");
  }
}

void pool_life::break_pool(const std::string& why) {
  if (state_.phase == pool_phase::broken || state_.phase == pool_phase::finished) {
    return;
  }
  const bool terminating = state_.phase == pool_phase::terminating;
  state_.phase = pool_phase::broken;
  broken_because_ = why;
  const std::string text = state_.face.title() + " is broken: " + why;
  log(log_level::error, text);
  state_.face.refuse_because(errc::pool_broken, text);
  take_back_from_all();
  for (worker_record* worker : state_.workers) {
    state_.host.signal(worker->id, SIGKILL);
    worker->leaving = true;
  }
  ledger_.fail_all_waiting(terminating ? errc::cancelled : errc::pool_broken, text);
}

void pool_life::abandon_start(std::shared_ptr<const failure> why) {
  if (start_failure_) {
    return;
  }
  start_failure_ = std::move(why);
  state_.phase = pool_phase::terminating;
  state_.face.refuse_because(errc::pool_closed, state_.face.title() + " could not be started");
  for (worker_record* worker : state_.workers) {
    worker->leaving = true;
    state_.host.signal(worker->id, SIGKILL);
  }
  ledger_.fail_all_waiting(errc::pool_closed, state_.face.title() + " could not be started");
}

void pool_life::cancel_waiting() {
  take_back_from_all();
  ledger_.fail_all_waiting(errc::cancelled,
                           "cancelled: " + state_.face.title() + " was shut down before it began");
  state_.dispatch_due = true;
}

void pool_life::ask_all_to_stop() {
  for (worker_record* worker : state_.workers) {
    const std::uint64_t undecided = worker->channel->undecided();
    for (const sent_range& sent : worker->sent.all()) {
      if (sent.what.work && sent.next_number() < undecided) {
        control_.request_stop(*worker, sent.last_begun(undecided));
      }
    }
  }
}

bool pool_life::refuse(process_submission& work) {
  if (state_.phase == pool_phase::open || state_.phase == pool_phase::starting) {
    return false;
  }
  state_.face.note_dequeued(work.count);
  if (state_.phase == pool_phase::broken) {
    ledger_.refuse(work, errc::pool_broken, state_.face.title() + " is broken: " + broken_because_);
  } else {
    ledger_.refuse(work, errc::pool_closed,
                   state_.face.title() + " is closed: it takes no more work");
  }
  return true;
}

void pool_life::stop_workers() {
  for (worker_record* worker : state_.workers) {
    if (worker->phase == worker_phase::starting) {
      worker->phase = worker_phase::stopping;
      control_.kill(*worker, "it is not needed any more");
    } else if (worker->phase != worker_phase::stopping) {
      control_.stop(*worker);
    }
  }
}

void pool_life::check_finished() {
  if (state_.phase == pool_phase::closing && !state_.work_left()) {
    stop_workers();
  }
  const bool ending = state_.phase == pool_phase::closing ||
                      state_.phase == pool_phase::terminating || state_.phase == pool_phase::broken;
  if (ending && state_.workers.empty() && !state_.work_left()) {
    if (state_.phase != pool_phase::broken) {
      state_.phase = pool_phase::finished;
    }
    state_.face.note_finished();
  }
}

}  // namespace troupe::detail
