// SPDX-License-Identifier: BSD-3-Clause

// The queue of a thread pool: submissions go in, workers take them out.

#include "troupe/log.hpp"

#include "os/spin.hpp"
#include "pools/thread/thread_core_impl.hpp"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace troupe::detail {

void thread_core::check_accepting() const {
  if (closing_) {
    throw pool_closed{title() + (terminated_ ? " was terminated" : " is closed") +
                      ": it takes no more work"};
  }
}

void thread_core::lock_patiently(std::unique_lock<std::mutex>& lock) {
  // It is held for less than a trip into the kernel takes.
  constexpr int tries = 25;
  for (int i = 0; i < tries && spinning_helps(); ++i) {
    if (lock.try_lock()) {
      return;
    }
    spin_watch::pause();
  }
  lock.lock();
}

thread_core::worker* thread_core::worker_of_this_thread() const noexcept {
  auto* const here = dynamic_cast<worker*>(wait_helper::of_this_thread());
  return here != nullptr && &here->core == this ? here : nullptr;
}

bool thread_core::submit(std::shared_ptr<thread_submission> submission, bool may_block,
                         const deadline& until) {
  const std::uint32_t count = submission->count_;
  if (submission->repeats()) {
    if (const std::string type = submission->unrepeatable(); !type.empty()) {
      throw std::invalid_argument{
          "troupe: task options: .retry_if: " + title() +
          " moves arguments into the function, and cannot keep one of type " + type +
          " for another attempt: pass it by std::ref or std::shared_ptr, or, if it can be copied, "
          "specialize troupe::enable_repeat for it"};
    }
  }
  const auto watched = submission->options_->deadline ? submission : nullptr;
  if (watched) {
    // While nobody else knows it.
    submission->rare().due = *deadline_after(std::min<std::chrono::milliseconds>(
        *submission->options_->deadline, std::chrono::hours{24 * 365}));
  }
  sleeper whom;
  {
    std::unique_lock lock{mutex_, std::defer_lock};
    lock_patiently(lock);
    for (;;) {
      check_accepting();
      // A submission larger than the bound passes when the queue is empty.
      const std::uint64_t now = queued_.load();
      if (options_.max_queued == 0 || now == 0 || now + count <= options_.max_queued) {
        break;
      }
      if (!may_block || (until && *until <= std::chrono::steady_clock::now())) {
        return false;
      }
      if (worker* const self = worker_of_this_thread()) {
        // All workers might wait here for room that only they can make.
        lock.unlock();
        if (self->depth >= max_export_depth) {
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
        if (until) {
          room_.wait_until(lock, *until);
        } else {
          room_.wait(lock);
        }
      }
      blocked_.fetch_sub(1);
    }
    submitted_ += count;
    queued_.fetch_add(count, std::memory_order_relaxed);
    submission->number_ = next_number_++;
    whom = push(std::move(submission));
  }
  if (watched) {
    watch_deadline(watched);
  }
  wake(whom);
  return true;
}

namespace {

/// The place for this priority; made if there is none.
template <class Lanes>
auto& lane_for(Lanes& lanes, int priority) {
  auto found = std::find_if(lanes.begin(), lanes.end(),
                            [priority](const auto& each) { return each.priority <= priority; });
  if (found == lanes.end() || found->priority != priority) {
    found = lanes.insert(found, typename Lanes::value_type{priority});
  }
  return *found;
}

template <class Lanes>
auto* first_of(Lanes& lanes) {
  const auto found =
      std::find_if(lanes.begin(), lanes.end(), [](const auto& each) { return !each.empty(); });
  return found == lanes.end() ? nullptr : &*found;
}

template <class Lane>
void note_first(std::atomic<int>& urgency, const Lane* first) {
  const int now = first == nullptr ? INT_MIN : first->priority;
  if (urgency.load(std::memory_order_relaxed) != now) {
    urgency.store(now, std::memory_order_relaxed);  // no write where none is needed: all read it
  }
}

void raise(std::atomic<int>& urgency, int priority) {
  if (priority > urgency.load(std::memory_order_relaxed)) {
    urgency.store(priority, std::memory_order_relaxed);
  }
}

}  // namespace

thread_core::sleeper thread_core::push(std::shared_ptr<thread_submission> submission) {
  if (!submission->options_->affinity.empty()) {
    return push_bound(std::move(submission));
  }
  const int priority = submission->options_->priority;
  lane_for(lanes_, priority).submissions.push_back(std::move(submission));
  raise(urgency_, priority);
  return pick_sleeper();
}

thread_core::sleeper thread_core::push_bound(std::shared_ptr<thread_submission> submission) {
  worker& bound_to = worker_bound_to(submission->options_->affinity);
  const int priority = submission->options_->priority;
  submission->bound_to_ = &bound_to;
  lane_for(bound_to.own, priority).submissions.push_back(std::move(submission));
  raise(bound_to.urgency, priority);
  return call(bound_to);
}

thread_core::sleeper thread_core::push_again(claimed item) {
  const std::string& key = item.submission->options_->affinity;
  const int priority = item.submission->options_->priority;
  worker* const bound_to = key.empty() ? nullptr : &worker_bound_to(key);
  item.submission->bound_to_ = bound_to;
  lane_for(bound_to != nullptr ? bound_to->own : lanes_, priority).again.push_back(std::move(item));
  raise(bound_to != nullptr ? bound_to->urgency : urgency_, priority);
  return bound_to != nullptr ? call(*bound_to) : pick_sleeper();
}

thread_core::worker& thread_core::worker_bound_to(const std::string& key) {
  worker*& bound_to = bound_[key];
  if (bound_to == nullptr) {
    // The one with the least to do that only it may do.
    const auto burden = [](const worker& each) {
      std::size_t submissions = each.free.load() ? 0 : 1;
      for (const lane& some : each.own) {
        submissions += some.submissions.size() + some.again.size();
      }
      return submissions;
    };
    for (const auto& each : workers_) {
      if (!each->leaving && (bound_to == nullptr || burden(*each) < burden(*bound_to))) {
        bound_to = each.get();
      }
    }
  }
  return *bound_to;
}

void thread_core::rehome(worker& from, std::vector<sleeper>& to_wake) {
  std::erase_if(bound_, [&from](const auto& each) { return each.second == &from; });
  std::vector<lane> waiting;
  waiting.swap(from.own);
  for (lane& each : waiting) {
    for (std::size_t i = 0; i < each.submissions.size(); ++i) {
      to_wake.push_back(push_bound(std::move(each.submissions[i])));
    }
    for (claimed& item : each.again) {
      to_wake.push_back(push_again(std::move(item)));
    }
  }
}

bool thread_core::anything_queued() const {
  return first_of(lanes_) != nullptr;
}

bool thread_core::worker::anything_for_me() const {
  return first_of(own) != nullptr;
}

bool thread_core::take_from(const worker& self, const std::shared_ptr<thread_submission>& wanted,
                            claimed& into) {
  if (wanted->bound_to_ != nullptr && wanted->bound_to_ != &self) {
    return false;
  }
  const std::uint32_t first = wanted->next_.fetch_add(wanted->task_range);
  if (first >= wanted->count_) {
    return false;  // whoever finds it in the queue removes it there
  }
  into = {wanted, first, std::min(wanted->task_range, wanted->count_ - first), false};
  note_claimed(into.count, true);
  return true;
}

bool thread_core::take(worker& self, claimed& into, released_submissions& released) {
  for (;;) {
    lane* from = first_of(lanes_);
    note_first(urgency_, from);
    if (!self.own.empty()) {
      lane* const own = first_of(self.own);
      note_first(self.urgency, own);
      if (own != nullptr && (from == nullptr || own->priority >= from->priority)) {
        from = own;
      }
    }
    if (from == nullptr) {
      return false;
    }
    if (take_front(*from, into, released)) {
      return true;
    }
  }
}

bool thread_core::take_front(lane& from, claimed& into, released_submissions& released) {
  if (!from.again.empty()) {
    into = std::move(from.again.front());
    from.again.pop_front();
    note_claimed(1, true);
    return true;
  }
  std::shared_ptr<thread_submission>& front = from.submissions.front();
  const std::uint32_t count = front->count_;
  const std::uint32_t task_range = front->task_range;
  const std::uint32_t first = front->next_.fetch_add(task_range);
  const bool used_up = first >= count || count - first <= task_range;
  if (first < count) {
    into = {nullptr, first, std::min(task_range, count - first), false};
    into.submission = used_up ? std::move(front) : front;
  } else {
    released.push_back(std::move(front));
  }
  if (used_up) {
    from.submissions.pop_front();
  }
  if (first >= count) {
    return false;
  }
  note_claimed(into.count, true);
  return true;
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
  if (!line_.empty()) {
    line_.call_next(items);  // who is called tries on a thread of its own
  }
}

std::shared_ptr<room_turn> thread_core::make_turn() {
  return std::make_shared<room_turn>(
      shared_from_this(), line_,
      [this] {
        const std::lock_guard lock{mutex_};
        return closing_ || queued_.load() < options_.max_queued;
      },
      [core = shared_from_this()](std::function<void()> function) {
        core->callbacks()->run(std::move(function));
      });
}

thread_core::sleeper thread_core::pick_sleeper() {
  if (queued_.load(std::memory_order_relaxed) <= looking_) {
    return {};  // there are enough who look before they sleep
  }
  if (!idle_.empty()) {
    if (waking_) {
      return {};  // it will see this too, and call the next
    }
    return call(*idle_.back());
  }
  if (!lenders_.empty()) {
    return call(*lenders_.back());
  }
  return grow();
}

thread_core::sleeper thread_core::call(worker& which) {
  if (const auto idle = std::find(idle_.rbegin(), idle_.rend(), &which); idle != idle_.rend()) {
    idle_.erase(std::next(idle).base());
    which.idle = false;
    which.expected = true;
    waking_ = true;
    return which.bell;
  }
  if (const auto lends = std::find(lenders_.rbegin(), lenders_.rend(), &which);
      lends != lenders_.rend()) {
    lenders_.erase(std::next(lends).base());
    return which.bell;
  }
  return {};  // it will look when it has time
}

thread_core::sleeper thread_core::grow() {
  if (staying_ >= most_.load() || closing_ ||
      std::any_of(workers_.begin(), workers_.end(),
                  [](const auto& each) { return !each->leaving && each->free.load(); })) {
    return {};
  }
  try {
    add_worker();
    wanted_ = staying_;
    return {};  // it looks at the queue as soon as it is there
  } catch (const std::system_error& refused) {
    most_ = std::max(least_, staying_);
    log(log_level::warning, title() + " stays at " + std::to_string(staying_) +
                                " workers, no further thread can be started: " + refused.what());
    return {};
  }
}

void thread_core::wake(const sleeper& whom) {
  if (whom) {
    whom->wake();
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
