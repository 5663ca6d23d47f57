// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/task_lanes.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace troupe::detail {

task_lanes::lane& task_lanes::lane_for(int priority) {
  auto found = std::find_if(lanes_.begin(), lanes_.end(),
                            [priority](const lane& each) { return each.priority <= priority; });
  if (found == lanes_.end() || found->priority != priority) {
    found = lanes_.insert(found, lane{priority});
  }
  return *found;
}

void task_lanes::push(std::shared_ptr<thread_submission> submission) {
  lane_for(submission->options().priority).submissions.push_back(std::move(submission));
}

void task_lanes::push_again(claimed_items item) {
  lane_for(item.submission->options().priority).again.push_back(std::move(item));
}

bool task_lanes::claim(claimed_items& into, released_submissions& released) {
  lane& from =
      *std::find_if(lanes_.begin(), lanes_.end(), [](const lane& each) { return !each.empty(); });
  if (!from.again.empty()) {
    into = std::move(from.again.front());
    from.again.pop_front();
    return true;
  }
  std::shared_ptr<thread_submission>& front = from.submissions.front();
  const std::uint32_t count = front->count();
  const std::uint32_t range = front->task_range;
  const std::uint32_t first = front->claim();
  const bool used_up = first >= count || count - first <= range;
  if (first < count) {
    into = {nullptr, first, std::min(range, count - first), false};
    into.submission = used_up ? std::move(front) : front;
  } else {
    released.push_back(std::move(front));
  }
  if (used_up) {
    from.submissions.pop_front();
  }
  return first < count;
}

bool task_lanes::claim_again(const thread_submission& of, claimed_items& into) {
  for (lane& each : lanes_) {
    const auto found =
        std::find_if(each.again.begin(), each.again.end(),
                     [&of](const claimed_items& item) { return item.submission.get() == &of; });
    if (found != each.again.end()) {
      into = std::move(*found);
      each.again.erase(found);
      return true;
    }
  }
  return false;
}

bool task_lanes::has_again(const thread_submission& of) const {
  return std::any_of(lanes_.begin(), lanes_.end(), [&of](const lane& each) {
    return std::any_of(each.again.begin(), each.again.end(),
                       [&of](const claimed_items& item) { return item.submission.get() == &of; });
  });
}

void task_lanes::remove_used_up(released_submissions& released) {
  for (lane& each : lanes_) {
    each.submissions.remove_if(
        [](const auto& one) { return one->unclaimed() == 0; },
        [&released](auto&& one) { released.push_back(std::forward<decltype(one)>(one)); });
  }
}

std::size_t task_lanes::size() const noexcept {
  std::size_t found = 0;
  for (const lane& each : lanes_) {
    found += each.submissions.size() + each.again.size();
  }
  return found;
}

std::shared_ptr<thread_submission> task_lanes::front() const {
  const lane* const found = first();
  if (found == nullptr) {
    return nullptr;
  }
  return found->again.empty() ? found->submissions.front() : found->again.front().submission;
}

void task_lanes::take_all(contents& into) {
  for (lane& each : std::exchange(lanes_, {})) {
    for (std::size_t i = 0; i < each.submissions.size(); ++i) {
      into.submissions.push_back(std::move(each.submissions[i]));
    }
    std::move(each.again.begin(), each.again.end(), std::back_inserter(into.again));
  }
}

}  // namespace troupe::detail
