// SPDX-License-Identifier: BSD-3-Clause

// Attempts after the first. An item whose attempt failed is pending_retries: it has no outcome, and
// nobody runs it, until the predicate has said no, or somebody cancels it, or it begins again. It
// is in two places then: in its submission, where whoever takes it out may say what becomes of it,
// and in `pending_retries_`, which keeps the workers of a closed pool.

#include "troupe/log.hpp"
#include "troupe/policy.hpp"

#include "pools/thread/thread_core_impl.hpp"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

namespace troupe::detail {

/// On the thread that ran the attempt.
bool thread_core::plan_retry(thread_submission& submission, const attempt_end& how,
                             const std::shared_ptr<const failure>& what) {
  const std::uint32_t item = how.item;
  const auto kept = std::static_pointer_cast<thread_submission>(submission.shared_from_this());
  {
    const std::lock_guard lock{mutex_};
    if (terminated_) {
      return false;
    }
    pending_retries_.insert(kept);
  }
  bool pending_retries = false;
  {
    const std::lock_guard lock{control_};
    auto& rare = submission.rare();
    auto past = std::find_if(rare.attempts.begin(), rare.attempts.end(),
                             [item](const auto& each) { return each.item == item; });
    if (past == rare.attempts.end()) {
      past = rare.attempts.insert(past, {item, 0});
    }
    pending_retries = past->count < static_cast<std::uint32_t>(submission.options_->retries) &&
                      !rare.stop_all && !rare.overdue && !all_must_stop_ &&
                      !submission.decided(item) && !is_cut(submission, item);
    if (pending_retries) {
      ++past->count;  // from now on no limit of this attempt counts
      std::erase_if(rare.stops, [item](const auto& each) { return each.item == item; });
      rare.pending_retries.push_back({item, how.thrown, what});
    }
  }
  if (!pending_retries) {
    drop_retries(submission, 1);
    return false;
  }
  callbacks_->run(
      [self = shared_from_this(), kept, item, what] { self->ask_whether_again(kept, item, what); });
  return true;
}

void thread_core::ask_whether_again(const std::shared_ptr<thread_submission>& submission,
                                    std::uint32_t item,
                                    const std::shared_ptr<const failure>& what) {
  {
    const std::lock_guard lock{mutex_};
    asking_.emplace_back(submission.get(), std::this_thread::get_id());
  }
  // Seen by who waits for the end of a map, before this looks whether the item was cancelled.
  std::uint32_t attempt = 0;
  {
    const std::lock_guard lock{control_};
    const auto& pending_retries = submission->rare().pending_retries;
    if (std::any_of(pending_retries.begin(), pending_retries.end(),
                    [item](const auto& each) { return each.item == item; })) {
      attempt = attempt_of(*submission, item);
    }
  }
  bool again = false;
  const bool is_cut = submission->group && submission->group->cuts(submission->first_item + item);
  if (attempt != 0 && !is_cut) {  // what the predicate refers to may be gone after a map
    try {
      again = submission->options_->retry_if(*to_error(*what));
    } catch (...) {
      report_callback(std::current_exception());
    }
  }
  {
    const std::lock_guard lock{mutex_};
    asking_.erase(std::find_if(asking_.begin(), asking_.end(),
                               [&](const auto& each) { return each.first == submission.get(); }));
    look_for_map_ends(*submission);
  }
  if (attempt == 0) {
    return;
  }
  if (!again) {
    give_up(*submission, item);
    return;
  }
  const auto delay = retry_delay(submission->options_->backoff, attempt - 1);
  if (delay.count() > 0) {
    add_limit(std::chrono::steady_clock::now() + delay,
              {submission, item, 0, limit::step::try_again});
  } else {
    try_again(submission, item);
  }
}

void thread_core::try_again(const std::shared_ptr<thread_submission>& submission,
                            std::uint32_t item) {
  sleeper whom;
  {
    const std::lock_guard lock{mutex_};
    if (!pending_retries_.contains(submission)) {
      return;  // it was cancelled, and there may be no worker any more
    }
    queued_.fetch_add(1, std::memory_order_relaxed);
    whom = push_again({submission, item, 1, true});
  }
  wake(whom);
}

void thread_core::give_up(thread_submission& submission, std::uint32_t item) {
  std::optional<thread_submission::item_end> last;
  {
    const std::lock_guard lock{control_};
    auto& pending_retries = submission.rare().pending_retries;
    const auto found = std::find_if(pending_retries.begin(), pending_retries.end(),
                                    [item](const auto& each) { return each.item == item; });
    if (found != pending_retries.end()) {
      last = std::move(*found);
      pending_retries.erase(found);
    }
  }
  if (!last) {
    return;
  }
  submission.drop(item, item + 1);
  if (submission.claim_outcome(item)) {
    fail(submission, item, last->thrown, std::move(last->what));
  }
  drop_retries(submission, 1);
}

std::optional<std::uint32_t> thread_core::begin_again(thread_submission& submission,
                                                      std::uint32_t item) {
  std::optional<std::uint32_t> attempt;
  {
    const std::lock_guard lock{control_};
    auto& rare = submission.rare();
    if (std::erase_if(rare.pending_retries,
                      [item](const auto& each) { return each.item == item; }) == 0) {
      return std::nullopt;
    }
    attempt = attempt_of(submission, item);
  }
  drop_retries(submission, 1);
  if (submission.decided(item)) {
    submission.drop(item, item + 1);
    return std::nullopt;
  }
  retried_.fetch_add(1, std::memory_order_relaxed);
  if (submission.group) {
    ++submission.group->retried_items;
  }
  return attempt;
}

void thread_core::drop_retries(thread_submission& submission, std::size_t items) {
  std::vector<sleeper> to_end;
  std::vector<std::shared_ptr<thread_submission>> kept;  // destroyed without the lock
  const auto key = std::static_pointer_cast<thread_submission>(submission.shared_from_this());
  {
    const std::lock_guard lock{mutex_};
    for (; items > 0; --items) {
      if (const auto found = pending_retries_.find(key); found != pending_retries_.end()) {
        kept.push_back(std::move(pending_retries_.extract(found).value()));
      }
    }
    if (closing_ && pending_retries_.empty()) {
      to_end = begin_closing();
    }
  }
  for (const sleeper& each : to_end) {
    wake(each);
  }
}

std::vector<std::shared_ptr<thread_submission>> thread_core::retrying_submissions() {
  const std::lock_guard lock{mutex_};
  return {pending_retries_.begin(), pending_retries_.end()};
}

std::uint32_t thread_submission::pending_retries() const {
  return repeats() ? owner_->pending_retries_of(*this) : 0;
}

std::uint32_t thread_core::pending_retries_of(const thread_submission& submission) {
  const std::lock_guard lock{control_};
  return submission.rare_ ? static_cast<std::uint32_t>(submission.rare_->pending_retries.size())
                          : 0;
}

std::uint32_t thread_core::attempt_of(const thread_submission& submission, std::uint32_t item) {
  if (submission.rare_) {
    for (const auto& each : submission.rare_->attempts) {
      if (each.item == item) {
        return each.count + 1;
      }
    }
  }
  return 1;
}

}  // namespace troupe::detail
