// SPDX-License-Identifier: BSD-3-Clause

// What ends tasks of a thread pool before their time: cancellation, stop tokens, and the timekeeper
// thread that waits for the limits. A thread cannot be killed, so what is given up here is the
// outcome: the future ends, and the worker is busy until the task returns.

#include "pools/thread/thread_core_impl.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

std::chrono::milliseconds thread_core::grace_of(const thread_submission& submission) const {
  return submission.options_->grace.value_or(options_.grace);
}

bool thread_core::cancel(thread_submission& which, bool force) {
  if (which.done() || !is_of_this_process()) {
    return false;
  }
  const std::uint32_t ended = cancel_rest(which, "task #" + std::to_string(which.number_) + " of " +
                                                     title() + " was cancelled before it began");
  if (which.done()) {
    return ended > 0;
  }
  ask_all_of(which);
  if (force) {
    add_limit(std::chrono::steady_clock::now() + grace_of(which),
              {std::static_pointer_cast<thread_submission>(which.shared_from_this()), every_item, 0,
               limit::step::give_up});
  }
  return false;
}

void thread_core::ask_all_of(thread_submission& submission) {
  std::vector<std::stop_source> sources;
  {
    const std::lock_guard lock{control_};
    if (submission.done()) {
      return;
    }
    auto& rare = submission.rare();
    rare.stop_all = true;
    for (const auto& each : rare.stops) {
      sources.push_back(each.source);
    }
    submission.limited_ = true;
  }
  for (std::stop_source& each : sources) {
    each.request_stop();  // may run the task's stop callbacks: not under the lock
  }
}

bool thread_core::ask_to_stop(thread_submission& submission, std::uint32_t item,
                              std::uint32_t attempt) {
  std::stop_source source;
  {
    const std::lock_guard lock{control_};
    if (attempt_of(submission, item) != attempt || submission.decided(item)) {
      return false;
    }
    auto& stops = submission.rare().stops;
    auto found = std::find_if(stops.begin(), stops.end(),
                              [item](const auto& each) { return each.item == item; });
    if (found == stops.end()) {
      found = stops.insert(found, {item, true, source});
    }
    found->timed_out = true;
    source = found->source;
    submission.limited_ = true;
  }
  source.request_stop();
  return true;
}

void thread_core::stop_what_is_cut(const thread_group& map) {
  std::vector<std::shared_ptr<thread_submission>> submissions = running_submissions();
  std::erase_if(submissions, [&map](const auto& each) { return each->group.get() != &map; });
  std::vector<std::stop_source> sources;
  {
    const std::lock_guard lock{control_};
    for (const auto& submission : submissions) {
      if (submission->rare_) {
        for (const auto& each : submission->rare_->stops) {
          if (map.cuts(submission->first_item + each.item)) {
            sources.push_back(each.source);
          }
        }
      }
    }
  }
  // Who asks for a token from now on sees the cut.
  for (std::stop_source& each : sources) {
    each.request_stop();
  }
}

std::stop_token thread_core::stop_token_of(thread_submission& submission, std::uint32_t item,
                                           std::uint32_t attempt) {
  std::stop_source source;
  bool asked = false;
  {
    const std::lock_guard lock{control_};
    if (attempt_of(submission, item) != attempt) {
      return {};
    }
    auto& rare = submission.rare();
    auto found = std::find_if(rare.stops.begin(), rare.stops.end(),
                              [item](const auto& each) { return each.item == item; });
    if (found == rare.stops.end()) {
      found = rare.stops.insert(found, {item, false, source});
    }
    source = found->source;
    asked = rare.stop_all || all_must_stop_ || found->timed_out || is_cut(submission, item);
  }
  if (asked) {
    source.request_stop();
  }
  return source.get_token();
}

thread_core::limits_of_item thread_core::limits_on(const thread_submission& submission,
                                                   std::uint32_t item) {
  limits_of_item found;
  if (submission.limited_.load()) {
    const std::lock_guard lock{control_};
    if (submission.rare_) {
      found.overdue = submission.rare_->overdue;
      found.cancelled = submission.rare_->stop_all && !found.overdue;
      found.timed_out =
          std::any_of(submission.rare_->stops.begin(), submission.rare_->stops.end(),
                      [item](const auto& each) { return each.item == item && each.timed_out; });
    }
  }
  found.cancelled = found.cancelled || is_cut(submission, item);
  return found;
}

std::shared_ptr<const failure> thread_core::timed_out(const thread_submission& submission,
                                                      std::uint32_t attempt) const {
  return plain(errc::timeout, task_ran::yes,
               "task #" + std::to_string(submission.number_) + " of " + title() +
                   " ran longer than its timeout of " +
                   std::to_string(submission.options_->timeout->count()) + " ms",
               submission, attempt);
}

void thread_core::ask_all_to_stop() {
  {
    const std::lock_guard lock{control_};
    all_must_stop_ = true;
  }
  for (const auto& submission : running_submissions()) {
    ask_all_of(*submission);
  }
}

// ---- the timekeeper ----------------------------------------------------------------------------

void thread_core::begin_limit(thread_submission& submission, std::uint32_t item,
                              std::uint32_t attempt) {
  add_limit(*deadline_after(std::min<std::chrono::milliseconds>(*submission.options_->timeout,
                                                                std::chrono::hours{24 * 365})),
            {std::static_pointer_cast<thread_submission>(submission.shared_from_this()), item,
             attempt, limit::step::ask_to_stop});
}

void thread_core::watch_deadline(const std::shared_ptr<thread_submission>& submission) {
  add_limit(submission->rare_->due, {submission, every_item, 0, limit::step::overdue});
  if (submission->done()) {
    forget_deadline(*submission);  // it was looked for before it was there
  }
}

void thread_core::forget_deadline(const thread_submission& submission) {
  const std::lock_guard lock{control_};
  // There may be one for each of very many waiting tasks.
  const auto [first, last] = submission.rare_ ? limits_.equal_range(submission.rare_->due)
                                              : std::pair{limits_.end(), limits_.end()};
  const auto found = std::find_if(first, last, [&](const auto& each) {
    return each.second.submission.get() == &submission && each.second.what == limit::step::overdue;
  });
  if (found != last) {
    limits_.erase(found);
  }
}

std::string thread_core::overdue_text(const thread_submission& submission) const {
  return "task #" + std::to_string(submission.number_) + " of " + title() +
         " was not done by its deadline, " +
         std::to_string(submission.options_->deadline->count()) + " ms after its submission";
}

void thread_core::end_limit(const thread_submission& submission, std::uint32_t item,
                            std::uint32_t attempt) {
  const std::lock_guard lock{control_};
  // As many as tasks run with a limit: no more than there are workers, most of the time.
  const auto found = std::find_if(limits_.begin(), limits_.end(), [&](const auto& each) {
    const limit& one = each.second;
    return one.submission.get() == &submission && one.item == item && one.attempt == attempt;
  });
  if (found != limits_.end()) {
    limits_.erase(
        found);  // the worker holds the submission too: nothing of the user's is destroyed
  }
}

void thread_core::add_limit(std::chrono::steady_clock::time_point when, limit what) {
  const std::lock_guard lock{control_};
  if (time_is_over_) {
    return;
  }
  if (!keeping_time_) {
    start_thread("troupe.time", [self = shared_from_this()] { self->keep_time(); });
    keeping_time_ = true;
  }
  const bool first = limits_.empty() || when < limits_.begin()->first;
  limits_.emplace(when, std::move(what));
  if (first) {
    time_.notify_all();
  }
}

/// On the timekeeper's thread, until the last worker has left.
void thread_core::keep_time() {
  for (;;) {
    limit due;
    {
      std::unique_lock lock{control_};
      while (!time_is_over_ &&
             (limits_.empty() || limits_.begin()->first > std::chrono::steady_clock::now())) {
        if (limits_.empty()) {
          time_.wait(lock);
        } else {
          time_.wait_until(lock, std::chrono::steady_clock::time_point{limits_.begin()->first});
        }
      }
      if (time_is_over_) {
        return;
      }
      const auto first = limits_.begin();
      due = std::move(first->second);
      limits_.erase(first);
      concluding_.push_back(std::this_thread::get_id());
    }
    const concluding now{*this, std::adopt_lock};
    reach(due);
    due = {};  // what this may destroy of the user's, no join leaves behind
  }
}

void thread_core::reach(limit& due) {
  if (due.what == limit::step::let_idle_go) {
    let_idle_go();
    return;
  }
  thread_submission& submission = *due.submission;
  switch (due.what) {
    case limit::step::ask_to_stop:
      // First, so that the end of the attempt finds it.
      add_limit(std::chrono::steady_clock::now() + grace_of(submission),
                {due.submission, due.item, due.attempt, limit::step::time_out});
      if (!ask_to_stop(submission, due.item, due.attempt)) {
        end_limit(submission, due.item, due.attempt);
      }
      break;
    case limit::step::time_out: {
      bool in_time = false;
      {
        // Either this attempt loses the item here, or it is the next one's, which `plan_retry` says
        // under the same lock.
        const std::lock_guard lock{control_};
        in_time =
            attempt_of(submission, due.item) != due.attempt || !submission.claim_outcome(due.item);
      }
      if (!in_time) {
        fail(submission, due.item, nullptr, timed_out(submission, due.attempt));
      }
      break;
    }
    case limit::step::try_again:
      try_again(due.submission, due.item);
      break;
    case limit::step::let_idle_go:
      break;
    case limit::step::overdue: {
      {
        const std::lock_guard lock{control_};
        submission.rare().overdue = true;
      }
      cancel_rest(submission, overdue_text(submission) + ", and had not begun", errc::timeout);
      if (!submission.done()) {
        ask_all_of(submission);
        add_limit(std::chrono::steady_clock::now() + grace_of(submission),
                  {due.submission, every_item, 0, limit::step::give_up});
      }
      break;
    }
    case limit::step::give_up: {
      bool overdue = false;
      {
        const std::lock_guard lock{control_};
        overdue = submission.rare().overdue;
      }
      const auto what =
          overdue ? plain(errc::timeout, task_ran::maybe,
                          overdue_text(submission) + ": it goes on in its thread", submission)
                  : plain(errc::cancelled, task_ran::maybe,
                          "task #" + std::to_string(submission.number_) + " of " + title() +
                              " was cancelled and did not stop within the grace time: it goes on "
                              "in its thread, and its outcome is dropped",
                          submission);
      for (std::uint32_t item = 0; item < submission.count_ && !submission.done(); ++item) {
        if (submission.claim_outcome(item)) {
          fail(submission, item, nullptr, what);
        }
      }
      break;
    }
  }
}

}  // namespace troupe::detail
