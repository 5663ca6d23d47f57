// SPDX-License-Identifier: BSD-3-Clause

// What ends tasks of a thread pool before their time: cancellation, stop tokens, and the timekeeper
// actor that waits for the limits. A thread cannot be killed, so what is given up here is the
// outcome: the future ends, and the worker is busy until the task returns.

#include "thread_core_impl.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

std::chrono::milliseconds thread_core::grace_of(const thread_job& job) const {
  return job.options_->grace.value_or(options_.grace);
}

bool thread_core::cancel(thread_job& which, bool force) {
  if (which.done()) {
    return false;
  }
  const std::uint32_t ended = cancel_rest(which, "task #" + std::to_string(which.number_) + " of " +
                                                     title() + " was cancelled before it began");
  if (which.done()) {
    return ended > 0;
  }
  ask_to_stop(which, every_item, thread_job::doom::cancelled);
  if (force) {
    add_limit(std::chrono::steady_clock::now() + grace_of(which),
              {std::static_pointer_cast<thread_job>(which.shared_from_this()), every_item,
               limit::step::give_up});
  }
  return false;
}

void thread_core::ask_to_stop(thread_job& job, std::uint32_t item, thread_job::doom why) {
  std::vector<std::stop_source> sources;
  {
    const std::lock_guard lock{control_};
    auto& rare = job.rare();
    if (item == every_item) {
      rare.stop_all = true;
      for (const auto& each : rare.stops) {
        sources.push_back(each.source);
      }
    } else {
      auto found = std::find_if(rare.stops.begin(), rare.stops.end(),
                                [item](const auto& each) { return each.item == item; });
      if (found == rare.stops.end()) {
        found = rare.stops.insert(found, {item, why, std::stop_source{}});
      }
      found->why = why;
      sources.push_back(found->source);
    }
    job.doomed_ = true;
  }
  for (std::stop_source& each : sources) {
    each.request_stop();  // may run the task's stop callbacks: not under the lock
  }
}

std::stop_token thread_core::stop_token_of(thread_job& job, std::uint32_t item) {
  std::stop_source source;
  bool asked = false;
  {
    const std::lock_guard lock{control_};
    auto& rare = job.rare();
    auto found = std::find_if(rare.stops.begin(), rare.stops.end(),
                              [item](const auto& each) { return each.item == item; });
    if (found == rare.stops.end()) {
      found = rare.stops.insert(found, {item, thread_job::doom::none, source});
    }
    source = found->source;
    asked = rare.stop_all || all_must_stop_ || found->why != thread_job::doom::none;
  }
  if (asked) {
    source.request_stop();
  }
  return source.get_token();
}

thread_job::doom thread_core::doom_of(const thread_job& job, std::uint32_t item) {
  const std::lock_guard lock{control_};
  if (job.rare_) {
    for (const auto& each : job.rare_->stops) {
      if (each.item == item) {
        return each.why;
      }
    }
  }
  return thread_job::doom::none;
}

bool thread_core::late(thread_job& job, std::uint32_t item) {
  bool overdue = false;
  {
    const std::lock_guard lock{control_};
    overdue = job.rare_ && job.rare_->overdue;
  }
  if (overdue) {
    if (job.claim_outcome(item)) {
      fail(job, item, nullptr, plain(errc::timeout, task_ran::yes, overdue_text(job), job));
    }
    return true;
  }
  if (doom_of(job, item) != thread_job::doom::timeout) {
    return false;
  }
  // It ended within the grace time, but the limit had passed: the answer is the same either way.
  if (job.repeats()) {
    end_limit(job, item);  // the next attempt has one of its own
    if (park(job, item, nullptr, timed_out(job))) {
      return true;
    }
  }
  if (job.claim_outcome(item)) {
    fail(job, item, nullptr, timed_out(job));
  }
  return true;
}

std::shared_ptr<const failure> thread_core::timed_out(const thread_job& job) const {
  return plain(errc::timeout, task_ran::yes,
               "task #" + std::to_string(job.number_) + " of " + title() +
                   " ran longer than its timeout of " +
                   std::to_string(job.options_->timeout->count()) + " ms",
               job);
}

void thread_core::ask_all_to_stop() {
  {
    const std::lock_guard lock{control_};
    all_must_stop_ = true;
  }
  for (const auto& job : running_jobs()) {
    ask_to_stop(*job, every_item, thread_job::doom::cancelled);
  }
}

// ---- the timekeeper ----------------------------------------------------------------------------

void thread_core::begin_limit(thread_job& job, std::uint32_t item) {
  add_limit(*deadline_after(std::min<std::chrono::milliseconds>(*job.options_->timeout,
                                                                std::chrono::hours{24 * 365})),
            {std::static_pointer_cast<thread_job>(job.shared_from_this()), item,
             limit::step::ask_to_stop});
}

void thread_core::watch_deadline(const std::shared_ptr<thread_job>& job) {
  add_limit(job->rare_->due, {job, every_item, limit::step::overdue});
  if (job->done()) {
    forget_deadline(*job);  // it was looked for before it was there
  }
}

void thread_core::forget_deadline(const thread_job& job) {
  const std::lock_guard lock{control_};
  // There may be one for each of very many waiting tasks.
  const auto [first, last] =
      job.rare_ ? limits_.equal_range(job.rare_->due) : std::pair{limits_.end(), limits_.end()};
  const auto found = std::find_if(first, last, [&](const auto& each) {
    return each.second.job.get() == &job && each.second.what == limit::step::overdue;
  });
  if (found != last) {
    limits_.erase(found);
  }
}

std::string thread_core::overdue_text(const thread_job& job) const {
  return "task #" + std::to_string(job.number_) + " of " + title() +
         " was not done by its deadline, " + std::to_string(job.options_->deadline->count()) +
         " ms after its submission";
}

void thread_core::end_limit(const thread_job& job, std::uint32_t item) {
  const std::lock_guard lock{control_};
  // As many as tasks run with a limit: no more than there are workers, most of the time.
  const auto found = std::find_if(limits_.begin(), limits_.end(), [&](const auto& each) {
    return each.second.job.get() == &job && each.second.item == item &&
           each.second.what != limit::step::try_again;
  });
  if (found != limits_.end()) {
    limits_.erase(found);  // the worker holds the job too: nothing of the user's is destroyed
  }
}

void thread_core::add_limit(std::chrono::steady_clock::time_point when, limit what) {
  caf::actor to_wake;
  {
    const std::lock_guard lock{control_};
    if (time_is_over_) {
      return;
    }
    const bool first = limits_.empty() || when < limits_.begin()->first;
    limits_.emplace(when, std::move(what));
    if (!timekeeper_) {
      timekeeper_ = actors_.spawn([self = shared_from_this()] { return self->keep_time(); });
    }
    if (!std::exchange(keeping_time_, true)) {
      to_wake = timekeeper_;
    } else if (first) {
      time_.notify_all();
    }
  }
  if (to_wake) {
    thread_actors::wake(to_wake);
  }
}

/// On the timekeeper's thread, until there is no limit; false: it leaves.
bool thread_core::keep_time() {
  std::unique_lock lock{control_};
  for (;;) {
    if (time_is_over_) {
      keeping_time_ = false;
      return false;
    }
    if (limits_.empty()) {
      keeping_time_ = false;
      return true;
    }
    const auto first = limits_.begin();
    if (first->first > std::chrono::steady_clock::now()) {
      time_.wait_until(lock, std::chrono::steady_clock::time_point{first->first});
      continue;
    }
    limit due = std::move(first->second);
    limits_.erase(first);
    lock.unlock();
    reach(due);
    due = {};
    lock.lock();
  }
}

void thread_core::reach(limit& due) {
  if (due.what == limit::step::let_idle_go) {
    let_idle_go();
    return;
  }
  thread_job& job = *due.job;
  switch (due.what) {
    case limit::step::ask_to_stop:
      ask_to_stop(job, due.item, thread_job::doom::timeout);
      add_limit(std::chrono::steady_clock::now() + grace_of(job),
                {due.job, due.item, limit::step::time_out});
      break;
    case limit::step::time_out:
      if (job.claim_outcome(due.item)) {
        fail(job, due.item, nullptr, timed_out(job));
      }
      break;
    case limit::step::try_again:
      try_again(due.job, due.item);
      break;
    case limit::step::let_idle_go:
      break;
    case limit::step::overdue: {
      {
        const std::lock_guard lock{control_};
        job.rare().overdue = true;
      }
      cancel_rest(job, overdue_text(job) + ", and had not begun", errc::timeout);
      if (!job.done()) {
        ask_to_stop(job, every_item, thread_job::doom::overdue);
        add_limit(std::chrono::steady_clock::now() + grace_of(job),
                  {due.job, every_item, limit::step::give_up});
      }
      break;
    }
    case limit::step::give_up: {
      bool overdue = false;
      {
        const std::lock_guard lock{control_};
        overdue = job.rare().overdue;
      }
      const auto what =
          overdue ? plain(errc::timeout, task_ran::maybe,
                          overdue_text(job) + ": it goes on in its thread", job)
                  : plain(errc::cancelled, task_ran::maybe,
                          "task #" + std::to_string(job.number_) + " of " + title() +
                              " was cancelled and did not stop within the grace time: it goes on "
                              "in its thread, and its outcome is dropped",
                          job);
      for (std::uint32_t item = 0; item < job.count_ && !job.done(); ++item) {
        if (job.claim_outcome(item)) {
          fail(job, item, nullptr, what);
        }
      }
      break;
    }
  }
}

}  // namespace troupe::detail
