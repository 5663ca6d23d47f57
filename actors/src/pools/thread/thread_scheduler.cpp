// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_scheduler.hpp"

#include "troupe/log.hpp"

#include "pools/thread/patient_guard.hpp"
#include "pools/thread/thread_core.hpp"

#include <system_error>
#include <utility>

namespace troupe::detail {

thread_scheduler::thread_scheduler(thread_core& core, thread_crew& crew)
    : crew_{crew}, core_{core}, queue_{crew.queued()}, room_{core.options().max_queued} {}

// ---- the queue ---------------------------------------------------------------------------------

bool thread_scheduler::submit(std::shared_ptr<thread_submission>& submission, bool may_block,
                              const deadline& until) {
  {
    wake_list to_wake;
    const patient_guard lock{crew_.mutex()};
    crew_.check_accepting();
    if (room_.take(crew_.queued().size(), submission->count())) {
      accept(std::move(submission), to_wake);
      return true;
    }
  }
  return may_block && submit_when_there_is_room(submission, until);
}

bool thread_scheduler::submit_when_there_is_room(std::shared_ptr<thread_submission>& submission,
                                                 const deadline& until) {
  // A worker may wait for this very task, and the pool's last one.
  const bool in_a_task = wait_helper::of_this_thread() != nullptr;
  bool got_in = false;
  released_submissions looked_at;
  wake_list to_wake;
  mutex_lock lock{crew_.mutex()};
  crew_.check_accepting();
  queue_room::waiter waits{room_, submission->count()};
  for (bool in_time = true; crew_.is_open();) {
    got_in = waits.take(crew_.queued().size());
    if (got_in || !in_time) {
      break;
    }
    if (in_a_task) {
      need_first(looked_at);
    }
    in_time = waits.wait(lock, until);
  }
  if (got_in) {
    accept(std::move(submission), to_wake);
  } else {
    crew_.check_accepting();
  }
  return got_in;
}

void thread_scheduler::need_first(released_submissions& looked_at) {
  if (const auto first = queue_.front(); first && reliefs_.need(first)) {
    wake_list to_wake;
    relieve(to_wake, looked_at);
  }
}

void thread_scheduler::accept(std::shared_ptr<thread_submission> submission, wake_list& to_wake) {
  call_for(queue_.push_new(std::move(submission), crew_.workers()), to_wake);
}

void thread_scheduler::submit_again(const std::shared_ptr<thread_submission>& submission,
                                    std::uint32_t item) {
  released_submissions looked_at;
  wake_list to_wake;
  const mutex_guard lock{crew_.mutex()};
  if (!retrying_.contains(submission)) {
    return;  // it was cancelled, and all workers may have left
  }
  call_for(queue_.push_retry({submission, item, 1, true}, crew_.workers()), to_wake);
  call_lenders(to_wake);  // one of them may wait for it
  if (submission->needed) {
    relieve(to_wake, looked_at);
  }
}

bool thread_scheduler::claim_next(worker_seat& self, claimed_items& into,
                                  released_submissions& released) {
  if (!queue_.claim_next(self, into, released)) {
    return false;
  }
  room_.left(into.count);
  return true;
}

bool thread_scheduler::claim_wanted(worker_seat& self,
                                    const std::shared_ptr<thread_submission>& wanted,
                                    claimed_items& into) {
  if ((wanted->bound_to != nullptr && wanted->bound_to != &self) ||
      !queue_.claim_from(wanted, into)) {
    return false;
  }
  room_.left(into.count);
  return true;
}

bool thread_scheduler::claim_needed(worker_seat& self, claimed_items& into,
                                    released_submissions& looked_at) {
  const auto found = reliefs_.find(&self, crew_.workers(), queue_, looked_at);
  if (!found || !queue_.claim_from(found, into)) {
    return false;
  }
  room_.left(into.count);
  return true;
}

void thread_scheduler::note_claimed(std::uint64_t items) {
  crew_.queued().left(items);
  if (room_.is_awaited()) {
    // With the lock, so that a thread about to wait sees the new number or is notified.
    const mutex_guard lock{crew_.mutex()};
    room_.notify();
  }
  room_.call_line(items);
}

void thread_scheduler::note_cancelled(std::uint64_t items) {
  note_claimed(items);
  released_submissions released;  // destroyed without the lock
  const mutex_guard lock{crew_.mutex()};
  queue_.note_cancelled(crew_.workers(), released);
}

task_lanes::contents thread_scheduler::take_queue() {
  const mutex_guard lock{crew_.mutex()};
  return queue_.take_all(crew_.workers());
}

std::shared_ptr<room_turn> thread_scheduler::make_turn() {
  const auto worth_trying = [this] {
    const mutex_guard lock{crew_.mutex()};
    return !crew_.is_open() || room_.may_enter_one(crew_.queued().size());
  };
  return std::make_shared<room_turn>(core_.shared_from_this(), room_.line(), worth_trying,
                                     core_.callback_executor());
}

void thread_scheduler::call_for(worker_seat* only, wake_list& to_wake) {
  if (only != nullptr) {
    crew_.resting().call(*only, to_wake);
  } else if (crew_.resting().call_next(crew_.queued().size(), to_wake) ==
             resting_workers::search::none) {
    crew_.grow();
  }
}

void thread_scheduler::call_for_rest(wake_list& to_wake) {
  if (!queue_.lanes_are_empty()) {
    call_for(nullptr, to_wake);
  }
}

void thread_scheduler::call_lenders(wake_list& to_wake) {
  news_.fetch_add(1);
  crew_.resting().call_lenders(to_wake);
}

// ---- what a worker does ------------------------------------------------------------------------

thread_scheduler::step thread_scheduler::next(worker_seat& self, const state_of_worker& how,
                                              claimed_items& work, released_submissions& released) {
  released_submissions looked_at;
  bool watch_idle = false;
  step what = step::sleep;
  {
    wake_list to_wake;
    const patient_guard lock{crew_.mutex()};
    crew_.resting().woke_up(self);
    self.blocked = false;
    if (how.finished != nullptr) {
      crew_.stop_running(self, *how.finished);
    }
    const bool may_take = how.may_begin && !self.leaving;
    self.free.store(may_take && !self.relief);
    if (crew_.is_surplus(self)) {
      withdraw(self, to_wake);
      relieve(to_wake, looked_at);
      call_for_rest(to_wake);  // this worker may have been woken for what now waits
      what = step::look_again;
    } else if (may_take && (self.relief ? claim_needed(self, work, looked_at)
                                        : claim_next(self, work, released))) {
      self.free.store(false);
      self.running.push_back(work.submission.get());
      call_for_rest(to_wake);
      what = step::run;
    } else if (how.holds || !released.empty()) {
      what = step::let_go;
    } else if (how.looping) {
      if (may_take) {
        self.runs_any = !self.relief;
        crew_.resting().add_lender(self);
      } else {
        self.blocked = true;
        relieve(to_wake, looked_at);
      }
      what = step::loop;
    } else if (self.leaving || self.relief ||
               (!crew_.is_open() && retrying_.empty() && !crew_.others_may_leave_work(self))) {
      crew_.note_leaving(self);
      relieve(to_wake, looked_at);  // it does not take what waiting ones need any more
      what = step::leave;
    } else if (how.patient) {
      crew_.resting().looks(self);
      what = step::look_again;
    } else if (how.leftovers) {
      self.runs_any = true;
      crew_.resting().add_lender(self);
      what = step::loop;
    } else {
      watch_idle = crew_.note_idle(self);
    }
  }
  if (watch_idle) {
    core_.time().let_idle_go_after(core_.options().idle_timeout);
  }
  return what;
}

bool thread_scheduler::claim(worker_seat& self, const std::shared_ptr<thread_submission>& wanted,
                             bool any, claimed_items& work, released_submissions& released) {
  released_submissions looked_at;
  wake_list to_wake;
  const mutex_guard lock{crew_.mutex()};
  if (wanted ? !claim_wanted(self, wanted, work)
             : !(any && claim_next(self, work, released)) &&
                   !(!reliefs_.may_come(crew_.workers()) && claim_needed(self, work, looked_at))) {
    return false;
  }
  self.blocked = false;
  self.free.store(false);  // it may be outside of its tasks, where it would take another
  self.running.push_back(work.submission.get());
  call_for_rest(to_wake);
  return true;
}

bool thread_scheduler::begin_lending(worker_seat& self, const state_of_wait& how) {
  released_submissions looked_at;
  wake_list to_wake;
  const mutex_guard lock{crew_.mutex()};
  const bool was_blocked = std::exchange(self.blocked, !how.any || self.relief);
  if (self.blocked && !was_blocked) {
    if (relieve(to_wake, looked_at)) {
      return false;
    }
    if (self.free.exchange(false)) {
      call_for_rest(to_wake);  // it counted as one that takes them: a destructor waits here
    }
  }
  if (news_.load() != how.news || (how.any && !(queue_.lanes_are_empty() && self.own.empty()))) {
    return false;
  }
  self.runs_any = how.any;
  crew_.resting().add_lender(self);
  return true;
}

void thread_scheduler::stop_lending(worker_seat& self) {
  const mutex_guard lock{crew_.mutex()};
  crew_.resting().woke_up(self);
}

void thread_scheduler::stop_waiting(worker_seat& self) {
  wake_list to_wake;
  const mutex_guard lock{crew_.mutex()};
  self.blocked = false;
  call_for_rest(to_wake);
}

// ---- what waiting threads need -----------------------------------------------------------------

void thread_scheduler::need(const std::shared_ptr<thread_submission>& submission) {
  released_submissions looked_at;
  wake_list to_wake;
  const mutex_guard lock{crew_.mutex()};
  if (reliefs_.need(submission)) {
    relieve(to_wake, looked_at);
  }
}

bool thread_scheduler::others_take_tasks(const worker_seat& self) {
  const mutex_guard lock{crew_.mutex()};
  return reliefs_.may_come(crew_.workers()) || crew_.workers().takes_tasks_beside(&self);
}

bool thread_scheduler::relieve(wake_list& to_wake, released_submissions& looked_at) {
  if (crew_.is_terminated() || !crew_.any_works()) {
    return false;
  }
  const auto decided = reliefs_.decide(crew_.workers(), queue_, looked_at);
  switch (decided.what) {
    case thread_reliefs::step::none:
      return false;
    case thread_reliefs::step::call:
      crew_.resting().call(*decided.relief, to_wake);
      return false;
    case thread_reliefs::step::start:
      try {
        crew_.start_relief();
        reliefs_.has_come();
        return false;
      } catch (const std::system_error& refused) {
        if (reliefs_.was_refused()) {
          warn_of_no_relief(refused.what());
        }
      }
      break;
    case thread_reliefs::step::refuse:
      break;
  }
  call_lenders(to_wake);
  return true;
}

void thread_scheduler::warn_of_no_relief(const std::string& why) {
  log(log_level::warning,
      core_.title() + " can start no further thread for what waiting tasks need: " + why);
}

// ---- from the first task to the last -----------------------------------------------------------

void thread_scheduler::start() {
  if (const std::exception_ptr problem = crew_.start()) {
    close();
    crew_.wait_until_gone(std::nullopt);
    std::rethrow_exception(problem);
  }
}

void thread_scheduler::initialized(worker_seat& self, const std::exception_ptr& problem) {
  released_submissions looked_at;
  wake_list to_wake;
  const mutex_guard lock{crew_.mutex()};
  if (self.relief) {
    if (problem) {
      self.leaving = true;
      if (reliefs_.has_failed()) {
        warn_of_no_relief("its initializer threw");
      }
      call_lenders(to_wake);
    }
    // It is not noted as present: nothing is bound to it, and no closed pool stays for it alone.
  } else if (problem) {
    crew_.note_failed(problem);
    withdraw(self, to_wake);
    relieve(to_wake, looked_at);
  } else {
    crew_.note_ready(self);
  }
  if (!crew_.is_open()) {
    begin_closing(to_wake);  // one may have stayed until this is known
  }
  crew_.notify_changed();
}

void thread_scheduler::withdraw(worker_seat& self, wake_list& to_wake) {
  crew_.withdraw(self);
  task_lanes::contents waiting;
  self.own.take_all(waiting);
  for (auto& submission : waiting.submissions) {
    call_for(queue_.push(std::move(submission), crew_.workers()), to_wake);
  }
  for (auto& item : waiting.again) {
    call_for(queue_.push_again(std::move(item), crew_.workers()), to_wake);
  }
  call_lenders(to_wake);  // one of them may wait for what was bound to this one
}

std::unique_ptr<worker_seat> thread_scheduler::leave(worker_seat& self, bool& last) {
  wake_list to_wake;
  const mutex_guard lock{crew_.mutex()};
  auto seat = crew_.remove(self, last);
  if (!crew_.is_open()) {
    begin_closing(to_wake);  // a worker may have stayed for what this one ran
  }
  return seat;
}

void thread_scheduler::begin_closing(wake_list& to_wake) {
  crew_.close(to_wake);
  room_.closed();
}

void thread_scheduler::close() {
  wake_list to_wake;
  const mutex_guard lock{crew_.mutex()};
  begin_closing(to_wake);
}

void thread_scheduler::terminate() {
  wake_list to_wake;
  const mutex_guard lock{crew_.mutex()};
  crew_.terminate();
  begin_closing(to_wake);
}

bool thread_scheduler::keep_for_retry(const std::shared_ptr<thread_submission>& submission) {
  const mutex_guard lock{crew_.mutex()};
  if (crew_.is_terminated()) {
    return false;
  }
  retrying_.insert(submission);
  return true;
}

void thread_scheduler::drop_retries(const std::shared_ptr<thread_submission>& submission,
                                    std::size_t items) {
  released_submissions kept;  // destroyed without the lock
  wake_list to_wake;
  const mutex_guard lock{crew_.mutex()};
  for (; items > 0; --items) {
    if (const auto found = retrying_.find(submission); found != retrying_.end()) {
      kept.push_back(std::move(retrying_.extract(found).value()));
    }
  }
  if (!crew_.is_open() && retrying_.empty()) {
    begin_closing(to_wake);
  }
}

std::vector<std::shared_ptr<thread_submission>> thread_scheduler::retrying() {
  const mutex_guard lock{crew_.mutex()};
  return {retrying_.begin(), retrying_.end()};
}

pool_stats thread_scheduler::stats() {
  pool_stats found;
  const mutex_guard lock{crew_.mutex()};
  found.submitted = crew_.queued().submitted();
  found.queued = crew_.queued().size();
  crew_.add_counts(found);
  return found;
}

}  // namespace troupe::detail
