// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/needed_tasks.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

bool needed_tasks::add(const std::shared_ptr<thread_submission>& submission) {
  if (std::exchange(submission->needed, true)) {
    return false;
  }
  forget_what_is_gone();
  (submission->options().affinity.empty() ? unbound_ : bound_).push_back(submission);
  return true;
}

void needed_tasks::forget_what_is_gone() {
  if (unbound_.size() + bound_.size() < forget_at_) {
    return;
  }
  const auto is_gone = [](const auto& each) { return each.expired(); };
  unbound_.remove_if(is_gone);
  bound_.remove_if(is_gone);
  forget_at_ = std::max<std::size_t>(16, 2 * (unbound_.size() + bound_.size()));
}

std::shared_ptr<thread_submission> needed_tasks::find(const condition& unbound,
                                                      const condition& bound,
                                                      released_submissions& looked_at) {
  auto found = find_in(unbound_, true, unbound, looked_at);
  return found ? found : find_in(bound_, false, bound, looked_at);
}

std::shared_ptr<thread_submission> needed_tasks::find_in(notes& all, bool alike,
                                                         const condition& which,
                                                         released_submissions& looked_at) {
  for (auto one = all.begin(); one != all.end();) {
    auto submission = one->lock();
    if (submission) {
      looked_at.push_back(submission);  // this may be the last share
    }
    if (!submission || submission->done() ||
        (submission->unclaimed() == 0 && !submission->repeats())) {
      one = all.erase(one);
    } else if (which(*submission)) {
      return submission;
    } else if (alike && submission->unclaimed() > 0) {
      return nullptr;  // it had some when it was asked: they only become less
    } else {
      // One that is claimed may still have attempts to come.
      ++one;
    }
  }
  return nullptr;
}

}  // namespace troupe::detail
