// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/continuation.hpp"

#include "futures/waiting.hpp"

#include <algorithm>
#include <thread>
#include <unordered_set>
#include <utility>

namespace troupe::detail {

namespace {

/// @throws error{no_state} if one of them is of no task.
future_state::executor executor_of(const std::vector<std::shared_ptr<future_state>>& sources) {
  if (std::find(sources.begin(), sources.end(), nullptr) != sources.end()) {
    throw_no_state();
  }
  if (sources.empty()) {
    return [](const std::function<void()>& function) {
      if (function) {
        function();
      }
    };
  }
  return sources.front()->callback_executor();
}

}  // namespace

continuation::continuation(std::vector<std::shared_ptr<future_state>> sources)
    : executor_{executor_of(sources)}, sources_{std::move(sources)} {}
continuation::~continuation() = default;

void continuation::each_value(const std::function<void(std::span<const std::byte>)>&) const {}

continuation::states continuation::sources() const {
  const mutex_guard lock{mutex_};
  return sources_;
}

bool continuation::any_source(const source_visitor& visit) const {
  const states all = sources();
  return std::any_of(all.begin(), all.end(), visit);
}

void continuation::need() const {
  needed_ = true;  // before its sources are looked at: `follow` changes them first, and then looks
}

void continuation::follow(std::shared_ptr<future_state> next) {
  if (!next) {
    return;  // the function returned a future of no task, which throws where it is asked
  }
  states before{next};
  {
    const mutex_guard lock{mutex_};
    if (ended_.load()) {
      return;
    }
    before.swap(sources_);
  }
  tell_sources();
  if (needed_.load()) {
    need_all_of(*next);
  }
  // A worker that waits for this one may be the only one that can run it, or has to tell its pool.
  sleeping_waiter::tell_all();
}

continuation::states continuation::roots() const {
  states found;
  states left = sources();
  std::unordered_set<const future_state*> seen;
  while (!left.empty()) {
    const std::shared_ptr<future_state> next = std::move(left.back());
    left.pop_back();
    if (!seen.insert(next.get()).second) {
      continue;
    }
    const auto* const link = dynamic_cast<const continuation*>(next.get());
    if (link == nullptr || link->done()) {
      found.push_back(next);
      continue;
    }
    const states further = link->sources();
    left.insert(left.end(), further.begin(), further.end());
  }
  return found;
}

bool continuation::cancel(bool force) {
  if (done()) {
    return false;
  }
  const states all = roots();
  bool certain = !all.empty();
  for (const auto& root : all) {
    certain = root->cancel(force) && certain;
  }
  if (certain) {
    // None of them has a value, so no function of a link is called any more. The links in between
    // end on the thread of callbacks; this one ends here.
    end(all.front()->exception());
    while (!done()) {
      std::this_thread::yield();  // that thread has begun to end it, and is about to fulfil it
    }
  }
  return certain;
}

bool continuation::running() const {
  if (done()) {
    return false;
  }
  const states all = roots();
  return std::any_of(all.begin(), all.end(),
                     [](const auto& root) { return root->done() || root->running(); });
}

future_state::executor continuation::callbacks() const {
  return executor_;
}

void continuation::end(std::exception_ptr thrown) {
  if (ended_.exchange(true)) {
    return;
  }
  std::shared_ptr<const failure> failed;
  if (thrown) {
    failed = std::make_shared<const failure>(capture_failure(thrown));
    thrown_ = std::move(thrown);
  }
  states unneeded;  // destroyed without the lock
  {
    const mutex_guard lock{mutex_};
    unneeded.swap(sources_);
  }
  finish(std::move(failed));
}

void throw_value_gone() {
  throw error{errc::no_state, task_ran::yes,
              "troupe: the result of this future was taken already: its type cannot be copied, so "
              "get() gives it once"};
}

completion_duty::~completion_duty() {
  of_->complete([] {
    throw pool_closed{"troupe: the program ended before what should follow a future could run"};
  });
}

}  // namespace troupe::detail
