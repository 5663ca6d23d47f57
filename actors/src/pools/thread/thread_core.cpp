// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_core.hpp"

#include "troupe/log.hpp"

#include "os/library_thread.hpp"
#include "pools/option_checks.hpp"
#include "pools/thread/thread_worker.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

namespace troupe::detail {
namespace {

/// How soon a task that waits for room looks for tasks that it may run itself.
constexpr std::chrono::milliseconds look_again_after{10};

bool is_elastic(const thread_pool_options& options) {
  return options.min_workers.has_value() || options.max_workers.has_value();
}

}  // namespace

thread_core::thread_core(const thread_pool_options& options)
    : process_{::getpid()},
      options_{options},
      task_defaults_{share_options(options.task_defaults)},
      crew_{*this, is_elastic(options) ? options.min_workers.value_or(1) : options.workers,
            is_elastic(options) ? options.max_workers.value_or(options.workers) : options.workers},
      scheduler_{*this, crew_} {}

thread_core::~thread_core() {
  callbacks_->stop();
  predicates_->stop();
}

void thread_core::start() {
  const bool elastic = crew_.may_grow();
  scheduler_.start();
  try {
    if (elastic) {
      time_.start();  // for .idle_timeout; the last worker ends it
    }
  } catch (const error&) {
    scheduler_.close();
    crew_.wait_until_gone(std::nullopt);
    throw;
  }
  up_ = true;
}

void thread_core::start_worker(worker_seat& seat) {
  const std::string place = "_" + std::to_string(seat.place);
  constexpr std::size_t longest_name = 15;
  // The thread keeps the core alive until it leaves.
  start_thread(options_.name.substr(0, longest_name - place.size()) + place,
               [core = shared_from_this(), &seat] { thread_worker{*core, seat}.live(); });
}

bool thread_core::is_of_this_process() const noexcept {
  return process_ == ::getpid();
}

bool thread_core::in_own_task() const noexcept {
  return thread_worker::here(*this) != nullptr;
}

future_state::executor thread_core::callback_executor() {
  return [core = shared_from_this()](std::function<void()> function) {
    core->callbacks_->run(std::move(function));
  };
}

// ---- tasks -------------------------------------------------------------------------------------

bool thread_core::submit(std::shared_ptr<thread_submission> submission, bool may_block,
                         const deadline& until) {
  if (submission->repeats()) {
    if (const std::string type = submission->unrepeatable(); !type.empty()) {
      throw std::invalid_argument{
          "troupe: task options: .retry_if: " + title() +
          " moves arguments into the function, and cannot keep one of type " + type +
          " for another attempt: pass it by std::ref or std::shared_ptr, or, if it can be copied, "
          "specialize troupe::enable_repeat for it"};
    }
  }
  prepare(submission->options(), submission->repeats());
  const auto& limit = submission->options().deadline;
  const auto watched = limit ? submission : nullptr;
  const steady_time due = limit ? later(std::chrono::steady_clock::now(), *limit) : steady_time{};
  while (!scheduler_.submit(submission, false, until)) {
    if (!may_block || (until && *until <= std::chrono::steady_clock::now())) {
      return false;
    }
    thread_worker* const own = thread_worker::here(*this);
    if (own != nullptr && own->make_room()) {
      continue;  // all workers could wait here for room that only workers can make
    }
    if (own != nullptr) {
      // What waits is bound to other workers. A task of its own may come meanwhile: it looks again.
      const steady_time next_look = later(std::chrono::steady_clock::now(), look_again_after);
      if (scheduler_.submit(submission, true, until ? std::min(*until, next_look) : next_look)) {
        break;
      }
    } else if (!scheduler_.submit(submission, true, until)) {
      return false;
    } else {
      break;
    }
  }
  if (watched) {
    time_.set_deadline(watched, due);
  }
  return true;
}

void thread_core::prepare(const task_options& how, bool repeats) {
  if (how.timeout || how.deadline || (repeats && how.backoff.count() > 0)) {
    time_.start();
  }
  if (repeats) {
    predicates_->run(nullptr);  // the thread that asks the predicate
  }
}

void thread_core::give_up_after_grace(const std::shared_ptr<thread_submission>& which,
                                      std::chrono::milliseconds grace) {
  try {
    if (grace.count() > 0) {
      time_.give_up_after(which, grace);
      return;
    }
  } catch (const error& no_thread) {
    log(log_level::warning,
        title() + " gives up at once what was to have a grace time: " + no_thread.what());
  }
  const concluding_threads::note now{concluding_};
  outcomes_.give_up(*which);
}

bool thread_core::cancel(thread_submission& which, bool force) {
  return !which.done() && is_of_this_process() && outcomes_.cancel(which, force);
}

void thread_core::cancel_waiting(const char* because) {
  const concluding_threads::note now{concluding_};  // before workers can find the queue empty
  const std::string why = "cancelled: " + title() + because;
  task_lanes::contents waiting = scheduler_.take_queue();
  for (const auto& submission : waiting.submissions) {
    outcomes_.cancel_rest(*submission, why);
  }
  if (!waiting.again.empty()) {
    scheduler_.note_claimed(waiting.again.size());  // retries, which are cancelled below
  }
  for (const auto& submission : scheduler_.retrying()) {
    outcomes_.cancel_rest(*submission, why);
  }
}

void thread_core::ask_all_to_stop() {
  attempts_.ask_what_comes();
  for (const auto& submission : crew_.running()) {
    attempts_.ask_all_to_stop(*submission);
  }
}

void thread_core::wait_until_nothing_runs(const thread_group& map) {
  const thread_worker* const own = thread_worker::here(*this);
  if (const auto end = crew_.watch_end(map, own != nullptr ? &own->seat() : nullptr)) {
    end->wait(std::nullopt);
  }
}

// ---- the pool's life ---------------------------------------------------------------------------

void thread_core::resize(int workers) {
  check_between("troupe::thread_pool::resize", "workers", workers, max_workers_of_a_pool);
  crew_.resize(workers);
}

void thread_core::terminate(std::chrono::milliseconds grace) {
  scheduler_.terminate();
  cancel_waiting(" was terminated before it began");
  ask_all_to_stop();
  for (const auto& submission : scheduler_.retrying()) {
    // What came since the first call; nothing can come from now on.
    outcomes_.cancel_rest(*submission,
                          "cancelled: " + title() + " was terminated between two attempts");
  }
  for (const auto& submission : crew_.running()) {
    give_up_after_grace(submission, grace);
  }
}

void thread_core::join() {
  if (in_own_task()) {
    throw error{errc::would_deadlock, task_ran::no,
                "join() in a task of " + title() +
                    " would wait for that task for ever: call it where the pool was made"};
  }
  if (!crew_.is_closing()) {
    throw std::logic_error{"troupe: " + title() +
                           ": join() before close() or terminate() would wait for ever"};
  }
  join_until(std::nullopt);
}

bool thread_core::join_until(const deadline& until) {
  // When the workers have left, every task was claimed by the thread that decides its outcome,
  // which need not be a worker.
  if (!crew_.wait_until_gone(until) || !concluding_.wait_for_others(until)) {
    return false;
  }
  for (const auto& runner : {predicates_, callbacks_}) {
    runner->wait_idle();
    runner->retire();  // futures that are kept do not keep its thread
  }
  return true;
}

void thread_core::end() noexcept {
  if (!is_of_this_process()) {
    // A forked child runs its parent's destructors: the threads do not exist here, and their locks
    // may be held for ever. So nothing is destroyed.
    keep_for_ever(shared_from_this());
    return;
  }
  try {
    if (!crew_.wait_until_gone(std::chrono::steady_clock::time_point{})) {
      const std::uint64_t dropped = scheduler_.stats().queued;
      terminate(options_.grace);
      warn_of_dropped(*this, dropped);
    }
    if (!in_own_task()) {
      join_until(std::nullopt);
    }  // otherwise the pool ends in one of its own tasks, and that worker leaves after it
  } catch (const std::exception& problem) {
    log(log_level::error, title() + " could not be ended in order: " + problem.what());
  }
}

// ---- what is asked -----------------------------------------------------------------------------

std::vector<worker_info> thread_core::workers() {
  // In a forked child a thread that does not exist there may hold the lock.
  return is_of_this_process() ? crew_.infos() : std::vector<worker_info>{};
}

child_status thread_core::seen() const {
  child_status status;
  status.name = options_.name;
  status.kind = "thread pool";
  const bool closing = crew_.is_closing();
  status.phase = closing && crew_.is_gone() ? child_phase::stopped
                 : closing                       ? child_phase::stopping
                 : up_                           ? child_phase::running
                                                 : child_phase::starting;
  return status;
}

pool_stats thread_core::stats() {
  if (!is_of_this_process()) {
    return {};  // as above
  }
  pool_stats found = scheduler_.stats();
  outcomes_.add_counts(found);
  found.retried = retries_.count();
  return found;
}

}  // namespace troupe::detail
