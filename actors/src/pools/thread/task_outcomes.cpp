// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/task_outcomes.hpp"

#include "pools/thread/thread_core.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

// ---- texts -------------------------------------------------------------------------------------

std::string task_outcomes::name_of(const thread_submission& submission) const {
  return "task #" + std::to_string(submission.number) + " of " + core_.title();
}

std::shared_ptr<const failure> task_outcomes::plain(errc code, task_ran ran, std::string text,
                                                    const thread_submission& submission,
                                                    std::uint32_t attempt) {
  auto what = std::make_shared<failure>();
  what->code = code;
  what->ran = ran;
  what->text = std::move(text);
  what->task = submission.number;
  what->attempt = ran == task_ran::no ? 0 : attempt;
  return what;
}

std::shared_ptr<const failure> task_outcomes::timed_out(const thread_submission& submission,
                                                        std::uint32_t attempt) const {
  return plain(errc::timeout, task_ran::yes,
               name_of(submission) + " ran longer than its timeout of " +
                   std::to_string(submission.options().timeout->count()) + " ms",
               submission, attempt);
}

std::string task_outcomes::overdue_text(const thread_submission& submission) const {
  return name_of(submission) + " was not done by its deadline, " +
         std::to_string(submission.options().deadline->count()) + " ms after its submission";
}

// ---- by the worker -----------------------------------------------------------------------------

std::shared_ptr<const failure> task_outcomes::limit_failure(const thread_submission& submission,
                                                            const attempt_end& how,
                                                            const attempt_book::verdict& limits) {
  if (limits.overdue) {
    return plain(errc::timeout, task_ran::yes, overdue_text(submission), submission, how.attempt);
  }
  if (limits.cancelled && how.says_it_stopped) {
    return plain(errc::cancelled, task_ran::yes,
                 name_of(submission) + " was cancelled while it ran, and stopped", submission,
                 how.attempt);
  }
  return limits.timed_out ? timed_out(submission, how.attempt) : nullptr;
}

void task_outcomes::conclude(worker_seat& worker, thread_submission& submission, attempt_end how) {
  const std::uint32_t item = how.item;
  const bool stored = !how.thrown;
  if (submission.options().timeout) {
    core_.time().end_attempt(submission, item, how.attempt);
  }
  // The failure, if there is one. An item that ended within the grace time fails as one that did
  // not end.
  const attempt_book::verdict limits = core_.attempts().verdict_on(submission, item);
  std::shared_ptr<const failure> what = limit_failure(submission, how, limits);
  const bool may_repeat =
      submission.repeats() && !limits.overdue && !(limits.cancelled && how.says_it_stopped);
  if (what) {
    how.thrown = nullptr;
  } else if (how.thrown) {
    failure seen = capture_failure(how.thrown);
    seen.task = submission.number;
    seen.attempt = how.attempt;
    what = std::make_shared<const failure>(std::move(seen));
  }
  // From here on it is decided whether there is another attempt. What this attempt needs must not
  // be dropped before; once the item waits for a retry, another worker may run it.
  if (what && stored) {
    submission.drop_value(item);
  }
  if (what && may_repeat && core_.retries().plan(submission, how, what)) {
    return;
  }
  if (submission.repeats() || submission.is_coroutine()) {
    submission.drop(item, item + 1);  // the arguments are destroyed before the outcome is known
  }
  if (!submission.claim_outcome(item)) {
    if (!what) {
      submission.drop_value(item);
    }
  } else if (what) {
    fail(submission, item, how.thrown, std::move(what));
  } else {
    worker.count_success();
    settle(submission, 1);
  }
}

void task_outcomes::end_cut(thread_submission& submission, std::uint32_t item) {
  submission.drop(item, item + 1);
  if (submission.claim_outcome(item)) {
    fail(submission, item, nullptr,
         plain(errc::cancelled, task_ran::no,
               "cancelled before it began: another item of its map failed, or the map was given up",
               submission));
  }
}

// ---- by any thread -----------------------------------------------------------------------------

void task_outcomes::settle(thread_submission& submission, std::uint32_t items) {
  if (!submission.settled(items)) {
    return;
  }
  std::shared_ptr<const failure> first;
  if (submission.records()) {
    auto& ends = submission.records()->ends;
    std::sort(ends.begin(), ends.end(),
              [](const auto& a, const auto& b) { return a.item < b.item; });
    if (!ends.empty()) {
      first = ends.front().what;
    }
  }
  const std::shared_ptr<thread_group> group = submission.group;
  if (submission.options().deadline) {
    core_.time().end_deadline(submission);
  }
  submission.end(std::move(first));
  if (group) {
    group->submission_done(submission);
  }
}

void task_outcomes::fail(thread_submission& submission, std::uint32_t item,
                         const std::exception_ptr& thrown, std::shared_ptr<const failure> what) {
  const bool was_cancelled = what->code == errc::cancelled && !thrown;
  (was_cancelled ? cancelled_ : failed_).fetch_add(1, std::memory_order_relaxed);
  thread_group* const group = submission.group.get();
  if (group != nullptr) {
    ++(was_cancelled ? group->cancelled_items : group->failed_items);
  }
  core_.attempts().note_end(submission, {item, thrown, std::move(what)});
  if (group != nullptr && group->all_or_nothing && !was_cancelled &&
      group->cut.after(submission.first_item + item) && group->stops_what_it_cuts) {
    stop_what_is_cut(*group);
  }
  settle(submission, 1);
}

void task_outcomes::stop_what_is_cut(const thread_group& map) {
  attempt_book::submissions running = core_.crew().running();
  std::erase_if(running, [&map](const auto& each) { return each->group.get() != &map; });
  core_.attempts().ask_what_is_cut(running);
}

std::uint32_t task_outcomes::cancel_rest(thread_submission& which, const std::string& why,
                                         errc code) {
  // Before the workers can find the submission empty and leave.
  const concluding_threads::note now{core_.concluding()};
  const std::uint32_t first = which.claim_rest();
  if (first < which.count()) {
    core_.scheduler().note_cancelled(which.count() - first);
    which.drop(first, which.count());
  } else if (!which.repeats()) {
    return 0;
  }
  const auto ended = core_.attempts().end_rest(which, first, plain(code, task_ran::no, why, which));
  for (const item_end& each : ended.were_pending) {
    which.drop(each.item, each.item + 1);
  }
  core_.retries().drop(which, ended.were_pending.size());
  (code == errc::cancelled ? cancelled_ : failed_)
      .fetch_add(ended.count, std::memory_order_relaxed);
  if (which.group) {
    (code == errc::cancelled ? which.group->cancelled_items : which.group->failed_items) +=
        ended.count;
  }
  if (ended.count > 0) {
    settle(which, ended.count);
  }
  return ended.count;
}

bool task_outcomes::cancel(thread_submission& which, bool force) {
  const std::uint32_t ended = cancel_rest(which, name_of(which) + " was cancelled before it began");
  if (which.done()) {
    return ended > 0;
  }
  core_.attempts().ask_all_to_stop(which);
  if (force) {
    core_.give_up_after_grace(std::static_pointer_cast<thread_submission>(which.shared_from_this()),
                              core_.grace_of(which));
  }
  return false;
}

void task_outcomes::give_up(thread_submission& which) {
  const auto what =
      core_.attempts().is_overdue(which)
          ? plain(errc::timeout, task_ran::maybe,
                  overdue_text(which) + ": it goes on in its thread", which)
          : plain(errc::cancelled, task_ran::maybe,
                  name_of(which) +
                      " was cancelled and did not stop within the grace time: it goes on in its "
                      "thread, and its outcome is dropped",
                  which);
  for (std::uint32_t item = 0; item < which.count() && !which.done(); ++item) {
    if (which.claim_outcome(item)) {
      fail(which, item, nullptr, what);
    }
  }
}

void task_outcomes::reach(const timekeeper::task_limits::due& what) {
  using step = timekeeper::task_limits::step;
  switch (what.what) {
    case step::ask_to_stop:
      if (!core_.attempts().ask_to_stop(*what.task, what.item, what.attempt)) {
        core_.time().end_attempt(*what.task, what.item, what.attempt);
      }
      break;
    case step::time_out:
      if (core_.attempts().take_from_attempt(*what.task, what.item, what.attempt)) {
        fail(*what.task, what.item, nullptr, timed_out(*what.task, what.attempt));
      }
      break;
    case step::overdue:
      core_.attempts().set_overdue(*what.task);
      cancel_rest(*what.task, overdue_text(*what.task) + ", and had not begun", errc::timeout);
      if (!what.task->done()) {
        core_.attempts().ask_all_to_stop(*what.task);
      }
      break;
    case step::give_up:
      give_up(*what.task);
      break;
    case step::try_again:
      core_.scheduler().submit_again(what.task, what.item);
      break;
    case step::let_idle_go:
      core_.crew().let_idle_go();
      break;
  }
}

void task_outcomes::add_counts(pool_stats& to) const {
  to.failed = failed_.load();
  to.cancelled = cancelled_.load();
}

}  // namespace troupe::detail
