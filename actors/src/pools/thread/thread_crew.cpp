// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_crew.hpp"

#include "troupe/log.hpp"

#include "pools/thread/thread_core.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>

namespace troupe::detail {
namespace {

std::shared_ptr<thread_submission> share(thread_submission& one) {
  return std::static_pointer_cast<thread_submission>(one.shared_from_this());
}

}  // namespace

thread_crew::thread_crew(thread_core& core, int least, int most)
    : core_{core}, size_{least, most} {}

// ---- the workers' lives ------------------------------------------------------------------------

void thread_crew::start_thread_for(bool relief) {
  worker_seat& seat = workers_.add(relief);
  try {
    core_.start_worker(seat);
  } catch (...) {
    workers_.remove(seat);
    throw;
  }
  count_.begun(relief);
}

std::exception_ptr thread_crew::cannot_start(const char* what,
                                             const std::exception& refused) const {
  return std::make_exception_ptr(
      error{errc::resource_exhausted, task_ran::no,
            std::string{"cannot start "} + what + core_.title() + ": " + refused.what()});
}

std::exception_ptr thread_crew::start() {
  int begun = 0;
  mutex_lock lock{mutex_};
  try {
    for (; begun < size_.wanted(); ++begun) {
      start_thread_for(false);
    }
  } catch (const std::system_error& refused) {
    phase_ = phase::closing;
    start_problem_ = cannot_start("the threads of ", refused);
  }
  while (count_.initialized() != begun) {
    changed_.wait(lock);
  }
  return start_problem_;
}

void thread_crew::note_ready(worker_seat& self) {
  self.present = true;
  count_.initialized(true);
}

void thread_crew::note_failed(const std::exception_ptr& problem) {
  count_.initialized(false);
  size_.limit(std::max(1, count_.staying() - 1));  // further threads could not be started either
  if (!start_problem_) {
    start_problem_ = problem;
  }
}

void thread_crew::withdraw(worker_seat& self) {
  count_.is_leaving(self.present);
  note_leaving(self);
}

void thread_crew::note_leaving(worker_seat& self) {
  self.leaving = true;
  workers_.unbind(self);
}

std::unique_ptr<worker_seat> thread_crew::remove(worker_seat& self, bool& last) {
  count_.left();
  last = count_.working() == 0;
  return workers_.remove(self);
}

void thread_crew::departed() {
  const mutex_guard lock{mutex_};
  count_.departed();
  changed_.notify_all();
}

bool thread_crew::wait_until_gone(const deadline& until) {
  mutex_lock lock{mutex_};
  bool in_time = true;
  while (count_.alive() != 0 && in_time) {
    if (until) {
      in_time = changed_.wait_until(lock, *until);
    } else {
      changed_.wait(lock);
    }
  }
  return count_.alive() == 0;
}

bool thread_crew::others_may_leave_work(const worker_seat& self) const {
  // For an attempt that follows, also of what one that leaves already still runs; and for what is
  // bound to one that is starting and may fail to.
  const auto stays = [&self](const worker_seat& each) {
    return &each != &self && !each.leaving && each.present;
  };
  const auto may_leave_work = [](const worker_seat& each) {
    return each.leaving ? !each.running.empty() : !each.present;
  };
  return !workers_.any_of(stays) && workers_.any_of(may_leave_work);
}

// ---- the pool's phase --------------------------------------------------------------------------

void thread_crew::throw_not_accepting() const {
  throw pool_closed{core_.title() +
                    (phase_ == phase::terminated ? " was terminated" : " is closed") +
                    ": it takes no more work"};
}

void thread_crew::close(wake_list& to_wake) {
  if (phase_ == phase::open) {
    phase_ = phase::closing;
  }
  resting_.call_idle(to_wake);
}

bool thread_crew::is_closing() const {
  const mutex_guard lock{mutex_};
  return phase_ != phase::open;
}

bool thread_crew::is_gone() const {
  const mutex_guard lock{mutex_};
  return count_.alive() == 0;
}

// ---- how many there are ------------------------------------------------------------------------

void thread_crew::resize(int workers) {
  std::exception_ptr problem;
  {
    wake_list to_wake;
    const mutex_guard lock{mutex_};
    check_accepting();
    size_.set(workers);
    try {
      while (count_.staying() < size_.wanted()) {
        start_thread_for(false);
      }
    } catch (const std::system_error& refused) {
      size_.set(count_.staying());
      problem = cannot_start("more threads of ", refused);
    }
    if (count_.staying() > size_.wanted()) {
      resting_.call_idle(to_wake);  // surplus ones see that they are to leave
    }
  }
  if (problem) {
    std::rethrow_exception(problem);
  }
}

void thread_crew::grow() {
  if (count_.staying() >= size_.most() || phase_ != phase::open ||
      workers_.any_of([](const worker_seat& each) { return !each.leaving && each.free.load(); })) {
    return;
  }
  try {
    start_thread_for(false);
    while (size_.wanted() < count_.staying()) {
      size_.grow();
    }
  } catch (const std::system_error& refused) {
    size_.limit(std::max(size_.least(), count_.staying()));
    log(log_level::warning, core_.title() + " stays at " + std::to_string(count_.staying()) +
                                " workers, no further thread can be started: " + refused.what());
  }
}

bool thread_crew::note_idle(worker_seat& self) {
  resting_.add_idle(self);
  if (!size_.may_shrink()) {
    return false;
  }
  self.idle_since = std::chrono::steady_clock::now();
  return !std::exchange(idle_watched_, true);
}

void thread_crew::let_idle_go() {
  bool some_stay = false;
  {
    wake_list to_wake;
    const mutex_guard lock{mutex_};
    const auto now = std::chrono::steady_clock::now();
    resting_.call_idle_if(
        [&](const worker_seat& each) {
          if (!size_.may_shrink() || later(each.idle_since, core_.options().idle_timeout) > now) {
            return false;
          }
          size_.shrink();
          return true;
        },
        to_wake);
    some_stay = phase_ == phase::open && size_.may_shrink() && resting_.any_idle();
    idle_watched_ = some_stay;
  }
  if (some_stay) {
    core_.time().let_idle_go_after(core_.options().idle_timeout);
  }
}

// ---- what they run -----------------------------------------------------------------------------

void thread_crew::stop_running(worker_seat& self, const thread_submission& submission) {
  const auto found = std::find(self.running.rbegin(), self.running.rend(), &submission);
  self.running.erase(std::next(found).base());  // its coroutines that began later run on
  ends_.look(submission, workers_);
}

void thread_crew::stopped_running(worker_seat& self, const thread_submission& submission,
                                  bool frees) {
  const mutex_guard lock{mutex_};
  stop_running(self, submission);
  if (frees && !self.leaving && !self.relief) {
    self.free.store(true);
  }
}

void thread_crew::begin_asking(const thread_submission& of) {
  const mutex_guard lock{mutex_};
  ends_.begin_asking(of);
}

void thread_crew::end_asking(const thread_submission& of) {
  const mutex_guard lock{mutex_};
  ends_.end_asking(of, workers_);
}

std::shared_ptr<event_state> thread_crew::watch_end(const thread_group& map,
                                                    const worker_seat* own) {
  const mutex_guard lock{mutex_};
  return ends_.watch(map, own, workers_);
}

// ---- reads -------------------------------------------------------------------------------------

std::vector<worker_info> thread_crew::infos() {
  std::vector<worker_info> found;
  const mutex_guard lock{mutex_};
  for (const auto& each : workers_.all()) {
    if (each->present) {
      found.push_back({each->id, each->thread_id.load()});
    }
  }
  return found;
}

void thread_crew::add_counts(pool_stats& to) const {
  to.succeeded += workers_.past_succeeded();
  for (const auto& each : workers_.all()) {
    to.succeeded += each->succeeded.load(std::memory_order_relaxed);
    to.running += each->busy.load(std::memory_order_relaxed);
    to.workers += each->present ? 1 : 0;
  }
}

std::vector<std::shared_ptr<thread_submission>> thread_crew::running() {
  std::vector<std::shared_ptr<thread_submission>> found;
  const mutex_guard lock{mutex_};
  for (const auto& each : workers_.all()) {
    for (thread_submission* const submission : each->running) {
      // Exists: the worker that runs it keeps it alive while it is in the list.
      found.push_back(share(*submission));
    }
  }
  return found;
}

}  // namespace troupe::detail
