// SPDX-License-Identifier: BSD-3-Clause

// The queue of a thread pool: submissions go in, workers take them out.

#include "thread_core_impl.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

void thread_core::check_accepting() const {
  if (closing_) {
    throw pool_closed{title() + (terminated_ ? " was terminated" : " is closed") +
                      ": it takes no more work"};
  }
}

thread_core::worker* thread_core::worker_of_this_thread() const noexcept {
  auto* const here = dynamic_cast<worker*>(wait_helper::of_this_thread());
  return here != nullptr && &here->core == this ? here : nullptr;
}

bool thread_core::submit(std::shared_ptr<thread_job> job, bool may_block) {
  const std::uint32_t count = job->count_;
  const auto watched = job->options_->deadline ? job : nullptr;
  if (watched) {
    // While nobody else knows it.
    job->rare().due = *deadline_after(std::min<std::chrono::milliseconds>(
        *job->options_->deadline, std::chrono::hours{24 * 365}));
  }
  sleeper whom;
  {
    std::unique_lock lock{mutex_};
    for (;;) {
      check_accepting();
      // A submission larger than the bound passes when the queue is empty.
      const std::uint64_t now = queued_.load();
      if (options_.max_queued == 0 || now == 0 || now + count <= options_.max_queued) {
        break;
      }
      if (!may_block) {
        return false;
      }
      if (worker* const self = worker_of_this_thread()) {
        // All workers might wait here for room that only they can make.
        lock.unlock();
        if (self->depth >= max_lending_depth) {
          throw error{errc::would_deadlock, task_ran::no,
                      "the queue of " + title() + " is full, and this task waits " +
                          std::to_string(self->depth) +
                          " tasks deep: raise .max_queued, or submit less from inside of tasks"};
        }
        lend_a_hand(*self, nullptr, nullptr);
        lock.lock();
        continue;
      }
      blocked_.fetch_add(1);
      if (queued_.load() == now) {
        room_.wait(lock);
      }
      blocked_.fetch_sub(1);
    }
    submitted_ += count;
    queued_.fetch_add(count, std::memory_order_relaxed);
    job->number_ = next_number_++;
    push(std::move(job));
    whom = pick_sleeper();
  }
  if (watched) {
    watch_deadline(watched);
  }
  wake(whom);
  return true;
}

void thread_core::push(std::shared_ptr<thread_job> job) {
  const int priority = job->options_->priority;
  auto found = std::find_if(lanes_.begin(), lanes_.end(),
                            [priority](const lane& each) { return each.priority <= priority; });
  if (found == lanes_.end() || found->priority != priority) {
    found = lanes_.insert(found, lane{priority, {}});
  }
  found->jobs.push_back(std::move(job));
  if (priority > urgency_.load(std::memory_order_relaxed)) {
    urgency_.store(priority, std::memory_order_relaxed);
  }
}

bool thread_core::anything_queued() const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [](const lane& each) { return !each.jobs.empty(); });
}

bool thread_core::take_from(const std::shared_ptr<thread_job>& wanted, claimed& into) {
  const std::uint32_t first = wanted->next_.fetch_add(wanted->slice);
  if (first >= wanted->count_) {
    return false;  // whoever finds it in the queue removes it there
  }
  into = {wanted, first, std::min(wanted->slice, wanted->count_ - first)};
  note_claimed(into.count, true);
  return true;
}

bool thread_core::take(claimed& into, buried_jobs& buried) {
  for (lane& each : lanes_) {
    while (!each.jobs.empty()) {
      std::shared_ptr<thread_job>& front = each.jobs.front();
      const std::uint32_t count = front->count_;
      const std::uint32_t slice = front->slice;
      const std::uint32_t first = front->next_.fetch_add(slice);
      const bool used_up = first >= count || count - first <= slice;
      if (first < count) {
        into.first = first;
        into.count = std::min(slice, count - first);
        into.job = used_up ? std::move(front) : front;
      } else {
        buried.push_back(std::move(front));
      }
      if (used_up) {
        each.jobs.pop_front();
      }
      if (first < count) {
        note_claimed(into.count, true);
        if (urgency_.load(std::memory_order_relaxed) != each.priority) {
          urgency_.store(each.priority, std::memory_order_relaxed);
        }
        return true;
      }
    }
  }
  urgency_.store(INT_MIN, std::memory_order_relaxed);
  return false;
}

void thread_core::note_claimed(std::uint64_t items, bool locked) {
  queued_.fetch_sub(items);
  if (options_.max_queued != 0 && blocked_.load() != 0) {
    // With the lock, so that who waits either sees the new number or hears of it.
    std::unique_lock lock{mutex_, std::defer_lock};
    if (!locked) {
      lock.lock();
    }
    room_.notify_all();
  }
}

thread_core::sleeper thread_core::pick_sleeper() {
  if (!idle_.empty()) {
    if (waking_) {
      return {};  // it will see this too, and call the next
    }
    worker* const who = idle_.back();
    idle_.pop_back();
    who->expected = true;
    waking_ = true;
    return {who->actor, nullptr};
  }
  if (!lenders_.empty()) {
    worker* const who = lenders_.back();
    lenders_.pop_back();
    return {{}, who->bell};
  }
  return {};
}

void thread_core::wake(const sleeper& whom) {
  if (whom.in_task) {
    whom.in_task->wake();
  } else if (whom.idle) {
    thread_actors::wake(whom.idle);
  }
}

void thread_core::pass_on() {
  sleeper whom;
  {
    const std::lock_guard lock{mutex_};
    if (anything_queued()) {
      whom = pick_sleeper();
    }
  }
  wake(whom);
}

}  // namespace troupe::detail
