// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/thread_map_future.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

void async_group::submission_done(thread_submission& finished) {
  whole->submission_done(finished);
}

void thread_map_future::submission_done(const thread_submission& finished) {
  report({items_done_.fetch_add(finished.count()) + finished.count(), items_.load(), {}});
  part_done();
}

void thread_map_future::add(std::shared_ptr<thread_submission> part) {
  left_.fetch_add(1);
  items_ += part->count();
  submissions_.push_back(std::move(part));
}

void thread_map_future::drop_last() {
  items_ -= submissions_.back()->count();
  submissions_.pop_back();
  part_done();
}

void thread_map_future::cancel_all() {
  group_->cut.all();
  for (const auto& part : submissions_) {
    part->cancel(false);
  }
}

bool thread_map_future::cancel(bool force) {
  if (done()) {
    return false;
  }
  bool certain = true;
  for (auto part = submissions_.rbegin(); part != submissions_.rend(); ++part) {
    certain = ((*part)->done() || (*part)->cancel(force)) && certain;
  }
  return certain && done();
}

bool thread_map_future::running() const {
  return std::any_of(submissions_.begin(), submissions_.end(),
                     [](const auto& part) { return part->running(); });
}

bool thread_map_future::any_source(const source_visitor& visit) const {
  return std::any_of(submissions_.begin(), submissions_.end(), visit);
}

task_counts thread_map_future::counts() const {
  task_counts found{.total = items_.load(),
                    .failed = group_->failed_items.load(),
                    .cancelled = group_->cancelled_items.load(),
                    .retried = group_->retried_items.load()};
  std::uint64_t left = 0;
  for (const auto& part : submissions_) {
    // Queued ones first: an item that is claimed meanwhile is counted as queued, not twice.
    const std::uint32_t waiting = part->unclaimed() + part->pending_retries();
    const std::uint32_t undecided = part->undecided();
    found.queued += std::min(waiting, undecided);
    left += undecided;
  }
  found.running = left - found.queued;
  found.succeeded =
      found.total - left - std::min(found.total - left, found.failed + found.cancelled);
  return found;
}

future_state::executor thread_map_future::callbacks() const {
  return core_->callback_executor();
}

void thread_map_future::part_done() {
  if (left_.fetch_sub(1) != 1) {
    return;
  }
  first_failure first;
  std::shared_ptr<const failure> why;
  for (auto part = submissions_.begin(); part != submissions_.end() && !first.is_certain();
       ++part) {
    if (!(*part)->failed()) {
      continue;
    }
    for (std::uint32_t item = 0; item < (*part)->count() && !first.is_certain(); ++item) {
      const failure* const one = (*part)->item_failure(item);
      if (one != nullptr && first.is(one->code)) {
        why = std::make_shared<const failure>(*one);
        thrown_ = (*part)->item_exception(item);
      }
    }
  }
  const std::shared_ptr<thread_map_future> self = std::move(group_->whole);
  finish(std::move(why));
}

}  // namespace troupe::detail
