// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/attempt_book.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {
namespace {

template <class Entries>
auto entry_of(Entries& entries, std::uint32_t item) {
  return std::find_if(entries.begin(), entries.end(),
                      [item](const auto& each) { return each.item == item; });
}

template <class Entries>
bool has_entry(const Entries& entries, std::uint32_t item) {
  return entry_of(entries, item) != entries.end();
}

template <class Entries>
void erase_entry(Entries& entries, std::uint32_t item) {
  std::erase_if(entries, [item](const auto& each) { return each.item == item; });
}

/// Runs the stop callbacks of tasks, so it is called without the lock.
void request_all(std::vector<std::stop_source>& sources) {
  for (std::stop_source& each : sources) {
    each.request_stop();
  }
}

}  // namespace

attempt_count attempt_book::attempt_of(const thread_submission& submission, std::uint32_t item) {
  if (submission.records()) {
    const auto& attempts = submission.records()->attempts;
    if (const auto found = entry_of(attempts, item); found != attempts.end()) {
      return found->now;
    }
  }
  return {};
}

item_records::stop_entry& attempt_book::stop_entry_of(thread_submission& submission,
                                                      std::uint32_t item) {
  auto& stops = submission.make_records().stops;
  const auto found = entry_of(stops, item);
  return found != stops.end() ? *found : stops.emplace_back(item, false, std::stop_source{});
}

std::stop_token attempt_book::stop_token(thread_submission& of, std::uint32_t item,
                                         std::uint32_t attempt) {
  std::stop_source source{std::nostopstate};
  bool asked = false;
  {
    const mutex_guard lock{mutex_};
    if (attempt_of(of, item).number != attempt) {
      return {};
    }
    const auto& entry = stop_entry_of(of, item);
    source = entry.source;
    asked = of.records()->stop_all || all_must_stop_ || entry.timed_out || of.is_cut(item);
  }
  if (asked) {
    source.request_stop();
  }
  return source.get_token();
}

void attempt_book::ask_all_to_stop(thread_submission& of) {
  std::vector<std::stop_source> sources;
  {
    const mutex_guard lock{mutex_};
    if (of.done()) {
      return;
    }
    auto& records = of.make_records();
    records.stop_all = true;
    for (const auto& each : records.stops) {
      sources.push_back(each.source);
    }
    of.limited = true;
  }
  request_all(sources);
}

bool attempt_book::ask_to_stop(thread_submission& of, std::uint32_t item, std::uint32_t attempt) {
  std::stop_source source{std::nostopstate};
  {
    const mutex_guard lock{mutex_};
    if (attempt_of(of, item).number != attempt || of.decided(item)) {
      return false;
    }
    auto& entry = stop_entry_of(of, item);
    entry.timed_out = true;
    source = entry.source;
    of.limited = true;
  }
  source.request_stop();
  return true;
}

void attempt_book::ask_what_is_cut(const submissions& running) {
  std::vector<std::stop_source> sources;
  {
    const mutex_guard lock{mutex_};
    for (const auto& submission : running) {
      if (submission->records()) {
        for (const auto& each : submission->records()->stops) {
          if (submission->group->cut.cuts(submission->first_item + each.item)) {
            sources.push_back(each.source);
          }
        }
      }
    }
  }
  // A task that asks for its token from now on sees the cut.
  request_all(sources);
}

void attempt_book::ask_what_comes() {
  const mutex_guard lock{mutex_};
  all_must_stop_ = true;
}

void attempt_book::set_overdue(thread_submission& one) {
  const mutex_guard lock{mutex_};
  one.make_records().overdue = true;
}

bool attempt_book::is_overdue(const thread_submission& one) {
  const mutex_guard lock{mutex_};
  return one.records() && one.records()->overdue;
}

attempt_book::verdict attempt_book::verdict_on(const thread_submission& submission,
                                               std::uint32_t item) {
  verdict found;
  if (submission.limited.load()) {
    const mutex_guard lock{mutex_};
    if (const item_records* const records = submission.records()) {
      found.overdue = records->overdue;
      found.cancelled = records->stop_all && !found.overdue;
      const auto stop = entry_of(records->stops, item);
      found.timed_out = stop != records->stops.end() && stop->timed_out;
    }
  }
  found.cancelled = found.cancelled || submission.is_cut(item);
  return found;
}

bool attempt_book::take_from_attempt(thread_submission& of, std::uint32_t item,
                                     std::uint32_t attempt) {
  // Either this attempt loses the item here, or `plan_retry` has given it to the next attempt,
  // under the same lock.
  const mutex_guard lock{mutex_};
  return attempt_of(of, item).number == attempt && of.claim_outcome(item);
}

void attempt_book::note_end(thread_submission& of, item_end how) {
  const mutex_guard lock{mutex_};
  of.make_records().ends.push_back(std::move(how));
}

attempt_book::ended_items attempt_book::end_rest(thread_submission& of, std::uint32_t first,
                                                 const std::shared_ptr<const failure>& what) {
  ended_items found;
  const mutex_guard lock{mutex_};
  if (of.records()) {
    found.were_pending.swap(of.records()->pending_retries);
  }
  const auto end = [&](std::uint32_t item) {
    if (of.claim_outcome(item)) {
      of.make_records().ends.push_back({item, nullptr, what});
      ++found.count;
    }
  };
  for (std::uint32_t item = first; item < of.count(); ++item) {
    end(item);
  }
  for (const item_end& each : found.were_pending) {
    end(each.item);
  }
  return found;
}

bool attempt_book::plan_retry(thread_submission& of, const attempt_end& how,
                              const std::shared_ptr<const failure>& what) {
  const mutex_guard lock{mutex_};
  auto& records = of.make_records();
  auto attempt = entry_of(records.attempts, how.item);
  if (attempt == records.attempts.end()) {
    attempt = records.attempts.insert(attempt, {how.item, {}});
  }
  if (!attempt->now.may_be_repeated(of.options().retries) || records.stop_all || records.overdue ||
      all_must_stop_ || of.decided(how.item) || of.is_cut(how.item)) {
    return false;
  }
  attempt->now = attempt->now.next();
  erase_entry(records.stops, how.item);
  records.pending_retries.push_back({how.item, how.thrown, what});
  return true;
}

std::optional<attempt_count> attempt_book::pending_attempt(const thread_submission& of,
                                                           std::uint32_t item) {
  const mutex_guard lock{mutex_};
  return of.records() && has_entry(of.records()->pending_retries, item)
             ? std::optional{attempt_of(of, item)}
             : std::nullopt;
}

std::optional<item_end> attempt_book::take_pending(thread_submission& of, std::uint32_t item) {
  const mutex_guard lock{mutex_};
  auto& pending = of.make_records().pending_retries;
  const auto found = entry_of(pending, item);
  if (found == pending.end()) {
    return std::nullopt;
  }
  std::optional<item_end> last{std::move(*found)};
  pending.erase(found);
  return last;
}

std::optional<std::uint32_t> attempt_book::begin_again(thread_submission& of, std::uint32_t item) {
  // These may be the last pointers to the user's exception: destroyed without the lock.
  const std::optional<item_end> last = take_pending(of, item);
  if (!last) {
    return std::nullopt;
  }
  const mutex_guard lock{mutex_};
  return attempt_of(of, item).number;
}

std::uint32_t attempt_book::pending_count(const thread_submission& of) {
  const mutex_guard lock{mutex_};
  return of.records() ? static_cast<std::uint32_t>(of.records()->pending_retries.size()) : 0;
}

}  // namespace troupe::detail
