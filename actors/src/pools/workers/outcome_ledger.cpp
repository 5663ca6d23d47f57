// SPDX-License-Identifier: BSD-3-Clause
#include "pools/workers/outcome_ledger.hpp"

#include "pools/workers/loss_report.hpp"

#include <exception>
#include <utility>

namespace troupe::detail {

void outcome_ledger::finish(process_submission& work) {
  work.finish_if_complete();
  if (work.options().deadline && work.done()) {
    deadlines_.end_deadline(work);
  }
}

void outcome_ledger::count_failure(errc code, std::uint64_t items) {
  (code == errc::cancelled ? state_.counts.cancelled : state_.counts.failed) += items;
}

void outcome_ledger::settle_value(process_submission& work, std::uint32_t item,
                                  std::span<const std::byte> value) {
  work.store_value(item, value);
  ++state_.counts.succeeded;
  finish(work);
}

void outcome_ledger::settle_payload(process_submission& work, std::uint32_t item,
                                    std::shared_ptr<const foreign_payload> value) {
  work.store_payload(item, std::move(value));
  ++state_.counts.succeeded;
  finish(work);
}

void outcome_ledger::settle_failure(process_submission& work, std::uint32_t item,
                                    const std::shared_ptr<const failure>& why) {
  count_failure(why->code);
  work.store_failure(item, why);
  if (work.group && work.group->all_or_nothing && why->code != errc::cancelled) {
    work.group->cut_after(work.number, item);
    cut_off(work.group);
  }
  finish(work);
}

void outcome_ledger::conclude(const task_range& what, std::uint32_t item,
                              std::shared_ptr<const failure> why) {
  const std::shared_ptr<process_submission>& work = what.work;
  const task_options& how = work->options();
  const bool wanted = how.retry_if ? true : why->code == errc::worker_lost;
  if (!wanted || !what.attempt.may_be_repeated(how.retries) || why->code == errc::cancelled ||
      work->overdue || !state_.serving() || (work->group && work->group->cuts(*work, item))) {
    settle_failure(*work, item, why);
    return;
  }
  const std::uint64_t number = attempts_.add(*work, {{work, item, 1, what.attempt.next()}, why});
  ++state_.counts.pending_retries;
  if (!how.retry_if) {
    schedule(number);
    return;
  }
  state_.face.predicate_executor()([weak = state_.face.weak_from_this(), work = work, why, number] {
    bool again = false;
    try {
      again = work->options().retry_if(*to_error(*why));
    } catch (...) {
      report_callback(std::current_exception());
    }
    if (const auto pool = weak.lock()) {
      pool->tell(retry_answered{number, again});
    }
  });
}

void outcome_ledger::answer_retry(std::uint64_t number, bool again) {
  if (again) {
    schedule(number);
  } else if (auto found = attempts_.take(number)) {
    --state_.counts.pending_retries;
    settle_failure(*found->what.work, found->what.first, found->last);
  }
}

void outcome_ledger::schedule(std::uint64_t number) {
  const pending_retry* const found = attempts_.find(number);
  if (found == nullptr) {
    return;  // it was cancelled meanwhile, or its deadline has passed
  }
  const auto delay = found->what.attempt.delay(found->what.work->options().backoff);
  if (delay.count() == 0) {
    try_again(*attempts_.take(number));
    return;
  }
  attempts_.schedule(number, later(state_.now(), delay));
  watch_retries();
}

void outcome_ledger::watch_retries() {
  const auto next = attempts_.next();
  if (next && *next < retry_timer_) {
    retry_timer_ = *next;
    state_.set_timer(*next, timer::retry);
  }
}

void outcome_ledger::on_retry_timer() {
  const steady_time now = state_.now();
  if (retry_timer_ <= now) {
    retry_timer_ = steady_time::max();
  }
  while (auto due = attempts_.take_due(now)) {
    try_again(std::move(*due));
  }
  watch_retries();
}

void outcome_ledger::try_again(pending_retry what) {
  --state_.counts.pending_retries;
  ++state_.counts.retried;
  process_submission& work = *what.what.work;
  if (work.group) {
    ++work.group->retried_items;
  }
  if (what.last->code == errc::worker_lost) {
    work.note_lost_attempt(what.what.first, end_of_attempt(*what.last));
  }
  state_.enqueue_again(std::move(what.what));
}

void outcome_ledger::drop(std::vector<pending_retry> dropped,
                          const std::shared_ptr<const failure>& why) {
  state_.counts.pending_retries -= dropped.size();
  for (const pending_retry& one : dropped) {
    settle_failure(*one.what.work, one.what.first, why);
  }
}

void outcome_ledger::drop_retries(process_submission& work,
                                  const std::shared_ptr<const failure>& why) {
  drop(attempts_.take_of(work), why);
}

void outcome_ledger::cut_retries(const submission_group& group,
                                 const std::shared_ptr<const failure>& why) {
  drop(attempts_.take_if([&](const pending_retry& one) {
    const process_submission& work = *one.what.work;
    return work.group.get() == &group && group.cuts(work, one.what.first);
  }),
       why);
}

void outcome_ledger::refuse(process_submission& work, errc code, std::string text) {
  auto why = plain_failure(code, task_ran::no, std::move(text));
  why->task = work.number;
  const std::shared_ptr<const failure> shared = std::move(why);
  for (std::uint32_t item = 0; item < work.count; ++item) {
    if (!work.decided(item)) {
      count_failure(code);
      work.store_failure(item, shared);
    }
  }
  finish(work);
}

void outcome_ledger::fail_waiting(task_range& what, const std::shared_ptr<const failure>& why) {
  for (std::uint32_t i = 0; i < what.count; ++i) {
    what.work->store_failure(what.first + i, why);
  }
  count_failure(why->code, what.count);
  state_.note_dequeued(what.count);
  finish(*what.work);
}

void outcome_ledger::fail_all_but(process_submission& work, const std::set<std::uint32_t>& begun,
                                  const std::shared_ptr<const failure>& why) {
  for (std::uint32_t item = 0; item < work.count && !work.done(); ++item) {
    if (!work.decided(item) && !begun.contains(item)) {
      state_.note_dequeued(1);
      settle_failure(work, item, why);
    }
  }
  state_.queue.note_over();
  state_.dispatch_due = true;
}

void outcome_ledger::fail_all_waiting(errc code, std::string text) {
  const std::shared_ptr<const failure> why = plain_failure(code, task_ran::no, std::move(text));
  drop(attempts_.take_if([](const pending_retry&) { return true; }), why);
  for (task_range& what : state_.queue.take_all()) {
    if (!what.is_over()) {
      fail_waiting(what, why);
    }
  }
}

void outcome_ledger::cancel_waiting(process_submission& work) {
  std::uint32_t waiting = 0;
  for (std::uint32_t item = 0; item < work.count; ++item) {
    waiting += work.decided(item) ? 0 : 1;
  }
  state_.note_dequeued(waiting);
  count_failure(errc::cancelled, waiting);
  work.end_cancelled();
  finish(work);
  state_.queue.note_over();
  state_.dispatch_due = true;
}

void outcome_ledger::set_deadline(const std::shared_ptr<process_submission>& work) {
  deadlines_.set_deadline(work, later(state_.now(), *work->options().deadline), {});
}

std::shared_ptr<process_submission> outcome_ledger::take_overdue(steady_time now) {
  while (const auto due = deadlines_.take(now)) {
    deadlines_.end_deadline(*due->task);  // the grace time is a limit of each begun attempt
    if (!due->task->done()) {
      return due->task;
    }
  }
  return nullptr;
}

std::shared_ptr<submission_group> outcome_ledger::take_cut_off() {
  if (cut_.empty()) {
    return nullptr;
  }
  auto group = std::move(cut_.back());
  cut_.pop_back();
  return group;
}

}  // namespace troupe::detail
