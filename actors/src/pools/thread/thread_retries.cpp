// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_retries.hpp"

#include "pools/thread/thread_core.hpp"

#include <exception>
#include <utility>

namespace troupe::detail {
namespace {

std::shared_ptr<thread_submission> share(thread_submission& one) {
  return std::static_pointer_cast<thread_submission>(one.shared_from_this());
}

}  // namespace

bool thread_retries::plan(thread_submission& submission, const attempt_end& how,
                          const std::shared_ptr<const failure>& what) {
  const auto kept = share(submission);
  if (!core_.scheduler().keep_for_retry(kept)) {
    return false;
  }
  if (!core_.attempts().plan_retry(submission, how, what)) {
    core_.scheduler().drop_retries(kept, 1);
    return false;
  }
  core_.predicates()->run([core = core_.shared_from_this(), kept, item = how.item, what] {
    core->retries().ask(kept, item, what);
  });
  return true;
}

void thread_retries::ask(const std::shared_ptr<thread_submission>& submission, std::uint32_t item,
                         const std::shared_ptr<const failure>& what) {
  core_.crew().begin_asking(*submission);
  // A thread that waits for the end of a map sees this, before it is checked here whether the item
  // was cancelled.
  const auto next = core_.attempts().pending_attempt(*submission, item);
  const bool is_cut =
      submission->group && submission->group->cut.cuts(submission->first_item + item);
  bool again = false;
  if (next && !is_cut) {  // after its map has ended, what the predicate refers to may be gone
    try {
      again = submission->options().retry_if(*to_error(*what));
    } catch (...) {
      report_callback(std::current_exception());
    }
  }
  core_.crew().end_asking(*submission);
  if (!next) {
    return;
  }
  if (!again) {
    give_up(*submission, item);
    return;
  }
  const auto delay = next->delay(submission->options().backoff);
  if (delay.count() > 0) {
    core_.time().try_again_after(submission, item, delay);
  } else {
    core_.scheduler().submit_again(submission, item);
  }
}

void thread_retries::give_up(thread_submission& submission, std::uint32_t item) {
  auto last = core_.attempts().take_pending(submission, item);
  if (!last) {
    return;
  }
  submission.drop(item, item + 1);
  if (submission.claim_outcome(item)) {
    core_.outcomes().fail(submission, item, last->thrown, std::move(last->what));
  }
  drop(submission, 1);
}

std::optional<std::uint32_t> thread_retries::begin(thread_submission& submission,
                                                   std::uint32_t item) {
  const auto attempt = core_.attempts().begin_again(submission, item);
  if (!attempt) {
    return std::nullopt;
  }
  drop(submission, 1);
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

void thread_retries::drop(thread_submission& submission, std::size_t items) {
  if (items > 0) {
    core_.scheduler().drop_retries(share(submission), items);
  }
}

}  // namespace troupe::detail
