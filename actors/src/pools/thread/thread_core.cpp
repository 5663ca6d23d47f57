// SPDX-License-Identifier: BSD-3-Clause

// The life of a thread pool, from its start to its end, and what is asked of it meanwhile. The
// queue is in thread_queue.cpp, what runs tasks in thread_worker.cpp, their outcomes in
// thread_outcomes.cpp, and what limits them in thread_limits.cpp.

#include "troupe/log.hpp"

#include "base/thread_owned.hpp"
#include "futures/made_here.hpp"
#include "pools/option_checks.hpp"
#include "pools/thread/thread_core_impl.hpp"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <system_error>
#include <typeinfo>
#include <utility>

namespace troupe::detail {

thread_core::thread_core(const thread_pool_options& options)
    : process_{::getpid()},
      options_{options},
      task_defaults_{share_options(options.task_defaults)},
      callbacks_{std::make_shared<callback_runner>()},
      least_{options.workers},
      most_{options.workers} {
  if (elastic()) {
    least_ = options.min_workers.value_or(1);
    most_ = options.max_workers.value_or(options.workers);
  }
}

thread_core::~thread_core() {
  callbacks_->stop();
}

void thread_core::start() {
  int begun = 0;
  try {
    for (; begun < least_; ++begun) {
      const std::lock_guard lock{mutex_};
      ++wanted_;
      add_worker();
    }
  } catch (const std::system_error& problem) {
    const std::lock_guard lock{mutex_};
    closing_ = true;
    start_problem_ = std::make_exception_ptr(
        error{errc::resource_exhausted, task_ran::no,
              "cannot start the threads of " + title() + ": " + problem.what()});
  }
  std::unique_lock lock{mutex_};
  life_.wait(lock, [&] { return initialized_ == begun; });
  if (!start_problem_) {
    return;
  }
  auto to_end = begin_closing();
  lock.unlock();
  for (const sleeper& each : to_end) {
    wake(each);
  }
  lock.lock();
  life_.wait(lock, [&] { return alive_ == 0; });
  std::rethrow_exception(start_problem_);
}

void thread_core::add_worker() {
  auto made = std::make_unique<worker>(*this, take_place(), next_worker_);
  workers_.reserve(workers_.size() + 1);
  const std::string place = "_" + std::to_string(made->index);
  constexpr std::size_t longest_name = 15;
  try {
    // The thread keeps the core until it leaves.
    start_thread(options_.name.substr(0, longest_name - place.size()) + place,
                 [self = shared_from_this(), which = made.get()] { self->run(*which); });
  } catch (...) {
    places_[static_cast<std::size_t>(made->index)] = false;
    throw;
  }
  ++next_worker_;
  ++alive_;
  ++working_;
  ++staying_;
  workers_.push_back(std::move(made));
}

int thread_core::take_place() {
  const auto free = std::find(places_.begin(), places_.end(), false);
  const auto place = free - places_.begin();
  if (free == places_.end()) {
    places_.push_back(true);
  } else {
    *free = true;
  }
  return static_cast<int>(place);
}

void thread_core::resize(int workers) {
  check_between("troupe::thread_pool::resize", "workers", workers, max_workers_of_a_pool);
  std::vector<sleeper> to_wake;
  std::exception_ptr problem;
  {
    const std::lock_guard lock{mutex_};
    check_accepting();
    most_ = least_ = wanted_ = workers;
    try {
      while (staying_ < wanted_) {
        add_worker();
      }
    } catch (const std::system_error& refused) {
      most_ = least_ = wanted_ = staying_;
      problem = std::make_exception_ptr(
          error{errc::resource_exhausted, task_ran::no,
                "cannot start more threads of " + title() + ": " + refused.what()});
    }
    if (staying_ > wanted_) {
      to_wake = call_idle();  // to see that they are not wanted any more
    }
  }
  for (const sleeper& each : to_wake) {
    wake(each);
  }
  if (problem) {
    std::rethrow_exception(problem);
  }
}

namespace {

/// One of each worker's thread, and the last that it does: its other thread_locals, which may be
/// the user's, were made later and so are gone. The thread that joins the pool has waited for
/// their destructors too.
struct departure {
  std::shared_ptr<thread_core> from;
  ~departure() {
    if (from) {
      from->departed();
    }
  }
};

}  // namespace

void thread_core::departed() {
  const std::lock_guard lock{mutex_};
  --alive_;
  life_.notify_all();
}

bool thread_core::begin(worker& self) {
  thread_owned<departure>::get()->from = shared_from_this();
  self.thread_id = ::gettid();
  std::exception_ptr problem;
  try {
    if (options_.initializer) {
      options_.initializer();
    }
  } catch (...) {
    problem = std::current_exception();
  }
  wait_helper::of_this_thread() = &self;
  const std::lock_guard lock{mutex_};
  ++initialized_;
  self.present = !problem;
  ready_ += problem ? 0 : 1;
  if (problem) {
    most_ = std::max(1, staying_ - 1);  // the next would fare no better
    least_ = std::min(least_, most_.load());
    if (!start_problem_) {
      start_problem_ = problem;
    }
  }
  life_.notify_all();
  return !problem;
}

void thread_core::leave(worker& self) {
  wait_helper::of_this_thread() = nullptr;
  self.bell->set_poke(nullptr);
  bool last = false;
  std::unique_ptr<worker> gone;
  std::vector<sleeper> to_end;
  {
    const std::lock_guard lock{mutex_};
    past_succeeded_ += self.succeeded.load(std::memory_order_relaxed);
    const auto place = std::find_if(workers_.begin(), workers_.end(),
                                    [&self](const auto& each) { return each.get() == &self; });
    places_[static_cast<std::size_t>(self.index)] = false;
    gone = std::move(*place);  // destroyed without the lock
    workers_.erase(place);
    last = --working_ == 0;
    if (closing_) {
      to_end = begin_closing();  // one may have stayed for what this one ran
    }
  }
  for (const sleeper& each : to_end) {
    wake(each);
  }
  if (last) {
    // Nothing runs any more, so no limit matters.
    std::multimap<std::chrono::steady_clock::time_point, limit> unneeded;
    const std::lock_guard lock{control_};
    time_is_over_ = true;
    time_.notify_all();
    limits_.swap(unneeded);
  }
}

std::vector<thread_core::sleeper> thread_core::begin_closing() {
  closing_ = true;
  std::vector<sleeper> all = call_idle();
  room_.notify_all();
  line_.call_next(UINT64_MAX);
  return all;
}

std::vector<thread_core::sleeper> thread_core::call_idle() {
  std::vector<sleeper> all;
  for (worker* const each : idle_) {
    each->idle = false;
    all.push_back(each->bell);
  }
  idle_.clear();
  return all;
}

void thread_core::close() {
  std::vector<sleeper> to_end;
  {
    const std::lock_guard lock{mutex_};
    to_end = begin_closing();
  }
  for (const sleeper& each : to_end) {
    wake(each);
  }
}

void thread_core::cancel_waiting(const char* because) {
  const concluding now{*this};  // before the workers find the queue empty
  std::vector<lane> waiting;
  {
    const std::lock_guard lock{mutex_};
    waiting.swap(lanes_);
    urgency_ = INT_MIN;
    for (const auto& each : workers_) {
      std::move(each->own.begin(), each->own.end(), std::back_inserter(waiting));
      each->own.clear();
      each->urgency = INT_MIN;
    }
  }
  for (lane& each : waiting) {
    for (std::size_t i = 0; i < each.submissions.size(); ++i) {
      cancel_rest(*each.submissions[i], "cancelled: " + title() + because);
    }
    if (!each.again.empty()) {
      note_claimed(each.again.size(), false);  // these are waiting for a retry, see below
    }
  }
  for (const auto& submission : retrying_submissions()) {
    cancel_rest(*submission, "cancelled: " + title() + because);
  }
}

void thread_core::terminate(std::chrono::milliseconds grace) {
  std::vector<sleeper> to_end;
  {
    const std::lock_guard lock{mutex_};
    terminated_ = true;
    to_end = begin_closing();
  }
  cancel_waiting(" was terminated before it began");
  ask_all_to_stop();
  for (const auto& submission :
       retrying_submissions()) {  // those since; from now on there are no more
    cancel_rest(*submission, "cancelled: " + title() + " was terminated between two attempts");
  }
  for (auto& submission : running_submissions()) {
    limit last{std::move(submission), every_item, 0, limit::step::give_up};
    if (grace.count() > 0) {
      add_limit(std::chrono::steady_clock::now() + grace, std::move(last));
    } else {
      const concluding now{*this};
      reach(last);
    }
  }
  for (const sleeper& each : to_end) {
    wake(each);
  }
}

void thread_core::join() {
  if (worker_of_this_thread() != nullptr) {
    throw error{errc::would_deadlock, task_ran::no,
                "join() in a task of " + title() +
                    " would wait for that task for ever: call it where the pool was made"};
  }
  {
    const std::lock_guard lock{mutex_};
    if (!closing_) {
      throw std::logic_error{"troupe: " + title() +
                             ": join() before close() or terminate() would wait for ever"};
    }
  }
  join_until(std::nullopt);
}

bool thread_core::join_until(const deadline& until) {
  {
    std::unique_lock lock{mutex_};
    const auto gone = [&] { return alive_ == 0; };
    if (!until) {
      life_.wait(lock, gone);
    } else if (!life_.wait_until(lock, *until, gone)) {
      return false;
    }
  }
  // Now every task has been taken by the thread that says how it ends. Not all of these are workers.
  if (!wait_until_concluded(until)) {
    return false;
  }
  callbacks_->wait_idle();
  return true;
}

bool thread_core::is_of_this_process() const noexcept {
  return process_ == ::getpid();
}

void thread_core::end() noexcept {
  if (!is_of_this_process()) {
    // A forked child that runs its parent's destructors: none of the threads are here, and locks
    // may be as they were. Kept as it is.
    keep_for_ever(shared_from_this());
    return;
  }
  try {
    bool gone = false;
    {
      const std::lock_guard lock{mutex_};
      gone = alive_ == 0;
    }
    if (!gone) {
      terminate(options_.grace);
    }
    if (worker_of_this_thread() == nullptr) {
      join_until(std::nullopt);
    }  // else the pool ends in one of its own tasks, which is the last thing that thread does
  } catch (const std::exception& problem) {
    log(log_level::error, title() + " could not be ended in order: " + problem.what());
  }
}

// ---- what is asked -----------------------------------------------------------------------------

std::vector<worker_info> thread_core::workers() {
  std::vector<worker_info> found;
  if (!is_of_this_process()) {
    return found;  // a thread that does not exist here may hold the lock
  }
  const std::lock_guard lock{mutex_};
  for (const auto& each : workers_) {
    if (each->present) {
      found.push_back({each->id, each->thread_id.load()});
    }
  }
  return found;
}

pool_stats thread_core::stats() {
  pool_stats found;
  if (!is_of_this_process()) {
    return found;  // as above
  }
  const std::lock_guard lock{mutex_};
  found.submitted = submitted_;
  found.queued = queued_.load();
  found.failed = failed_.load();
  found.cancelled = cancelled_.load();
  found.retried = retried_.load();
  found.succeeded = past_succeeded_;
  for (const auto& each : workers_) {
    found.succeeded += each->succeeded.load(std::memory_order_relaxed);
    found.running += each->busy.load(std::memory_order_relaxed);
    found.workers += each->present ? 1 : 0;
  }
  return found;
}

std::vector<std::shared_ptr<thread_submission>> thread_core::running_submissions() {
  std::vector<std::shared_ptr<thread_submission>> found;
  const std::lock_guard lock{mutex_};
  for (const auto& each : workers_) {
    for (thread_submission* const submission : each->running) {
      // Whoever runs it holds it until it is no longer in the list.
      found.push_back(std::static_pointer_cast<thread_submission>(submission->shared_from_this()));
    }
  }
  return found;
}

}  // namespace troupe::detail
