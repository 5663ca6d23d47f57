// SPDX-License-Identifier: BSD-3-Clause

// Attempts after the first. An item whose attempt failed is parked: it has no outcome, and nobody
// runs it, until the predicate has said no, or somebody cancels it, or it begins again. It is in
// two places then: in its job, where whoever takes it out may say what becomes of it, and in
// `parked_`, which keeps the workers of a closed pool.

#include "troupe/log.hpp"
#include "troupe/policy.hpp"

#include "thread_core_impl.hpp"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

namespace troupe::detail {

/// On the thread that ran the attempt.
bool thread_core::park(thread_job& job, const attempt_end& how,
                       const std::shared_ptr<const failure>& what) {
  const std::uint32_t item = how.item;
  const auto kept = std::static_pointer_cast<thread_job>(job.shared_from_this());
  {
    const std::lock_guard lock{mutex_};
    if (terminated_) {
      return false;
    }
    parked_.insert(kept);
  }
  bool parked = false;
  {
    const std::lock_guard lock{control_};
    auto& rare = job.rare();
    auto past = std::find_if(rare.attempts.begin(), rare.attempts.end(),
                             [item](const auto& each) { return each.item == item; });
    if (past == rare.attempts.end()) {
      past = rare.attempts.insert(past, {item, 0});
    }
    parked = past->count < static_cast<std::uint32_t>(job.options_->retries) && !rare.stop_all &&
             !rare.overdue && !all_must_stop_ && !job.decided(item) && !is_cut(job, item);
    if (parked) {
      ++past->count;  // from now on no limit of this attempt counts
      std::erase_if(rare.stops, [item](const auto& each) { return each.item == item; });
      rare.parked.push_back({item, how.thrown, what});
    }
  }
  if (!parked) {
    unpark(job, 1);
    return false;
  }
  callbacks_->run(
      [self = shared_from_this(), kept, item, what] { self->ask_whether_again(kept, item, what); });
  return true;
}

void thread_core::ask_whether_again(const std::shared_ptr<thread_job>& job, std::uint32_t item,
                                    const std::shared_ptr<const failure>& what) {
  {
    const std::lock_guard lock{mutex_};
    asking_.emplace_back(job.get(), std::this_thread::get_id());
  }
  // Seen by who waits for the end of a map, before this looks whether the item was cancelled.
  std::uint32_t attempt = 0;
  {
    const std::lock_guard lock{control_};
    const auto& parked = job->rare().parked;
    if (std::any_of(parked.begin(), parked.end(),
                    [item](const auto& each) { return each.item == item; })) {
      attempt = attempt_of(*job, item);
    }
  }
  bool again = false;
  const bool is_cut = job->group && job->group->cuts(job->first_item + item);
  if (attempt != 0 && !is_cut) {  // what the predicate refers to may be gone after a map
    try {
      again = job->options_->retry_if(*to_error(*what));
    } catch (...) {
      report_callback(std::current_exception());
    }
  }
  {
    const std::lock_guard lock{mutex_};
    asking_.erase(std::find_if(asking_.begin(), asking_.end(),
                               [&](const auto& each) { return each.first == job.get(); }));
    look_for_map_ends(*job);
  }
  if (attempt == 0) {
    return;
  }
  if (!again) {
    give_up(*job, item);
    return;
  }
  const auto delay = retry_delay(job->options_->backoff, attempt - 1);
  if (delay.count() > 0) {
    add_limit(std::chrono::steady_clock::now() + delay, {job, item, 0, limit::step::try_again});
  } else {
    try_again(job, item);
  }
}

void thread_core::try_again(const std::shared_ptr<thread_job>& job, std::uint32_t item) {
  sleeper whom;
  {
    const std::lock_guard lock{mutex_};
    if (!parked_.contains(job)) {
      return;  // it was cancelled, and there may be no worker any more
    }
    queued_.fetch_add(1, std::memory_order_relaxed);
    whom = push_again({job, item, 1, true});
  }
  wake(whom);
}

void thread_core::give_up(thread_job& job, std::uint32_t item) {
  std::optional<thread_job::item_end> last;
  {
    const std::lock_guard lock{control_};
    auto& parked = job.rare().parked;
    const auto found = std::find_if(parked.begin(), parked.end(),
                                    [item](const auto& each) { return each.item == item; });
    if (found != parked.end()) {
      last = std::move(*found);
      parked.erase(found);
    }
  }
  if (!last) {
    return;
  }
  job.drop(item, item + 1);
  if (job.claim_outcome(item)) {
    fail(job, item, last->thrown, std::move(last->what));
  }
  unpark(job, 1);
}

std::optional<std::uint32_t> thread_core::begin_again(thread_job& job, std::uint32_t item) {
  std::optional<std::uint32_t> attempt;
  {
    const std::lock_guard lock{control_};
    auto& rare = job.rare();
    if (std::erase_if(rare.parked, [item](const auto& each) { return each.item == item; }) == 0) {
      return std::nullopt;
    }
    attempt = attempt_of(job, item);
  }
  unpark(job, 1);
  if (job.decided(item)) {
    job.drop(item, item + 1);
    return std::nullopt;
  }
  retried_.fetch_add(1, std::memory_order_relaxed);
  if (job.group) {
    ++job.group->retried_items;
  }
  return attempt;
}

void thread_core::unpark(thread_job& job, std::size_t items) {
  std::vector<sleeper> to_end;
  std::vector<std::shared_ptr<thread_job>> kept;  // destroyed without the lock
  const auto key = std::static_pointer_cast<thread_job>(job.shared_from_this());
  {
    const std::lock_guard lock{mutex_};
    for (; items > 0; --items) {
      if (const auto found = parked_.find(key); found != parked_.end()) {
        kept.push_back(std::move(parked_.extract(found).value()));
      }
    }
    if (closing_ && parked_.empty()) {
      to_end = begin_closing();
    }
  }
  for (const sleeper& each : to_end) {
    wake(each);
  }
}

std::vector<std::shared_ptr<thread_job>> thread_core::parked_jobs() {
  const std::lock_guard lock{mutex_};
  return {parked_.begin(), parked_.end()};
}

std::uint32_t thread_job::parked() const {
  return repeats() ? owner_->parked_of(*this) : 0;
}

std::uint32_t thread_core::parked_of(const thread_job& job) {
  const std::lock_guard lock{control_};
  return job.rare_ ? static_cast<std::uint32_t>(job.rare_->parked.size()) : 0;
}

std::uint32_t thread_core::attempt_of(const thread_job& job, std::uint32_t item) {
  if (job.rare_) {
    for (const auto& each : job.rare_->attempts) {
      if (each.item == item) {
        return each.count + 1;
      }
    }
  }
  return 1;
}

}  // namespace troupe::detail
