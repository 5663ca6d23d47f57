// SPDX-License-Identifier: BSD-3-Clause

// The workers of a thread pool: their turns, the tasks they run, and the hand they lend while they
// wait.

#include "troupe/progress.hpp"

#include "pools/thread/thread_core_impl.hpp"
#include "pools/thread/thread_coroutines.hpp"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <optional>
#include <utility>

namespace troupe::detail {

namespace {
/// A worker without work lets others run this often before it sleeps: who submits small tasks one
/// by one finds it awake more often than not, which saves both of them the kernel (a round trip
/// costs 7 us instead of 14, and twice as many tasks go through).
constexpr int looks_before_sleep = 16;
}  // namespace

const local_task*& local_task::here() noexcept {
  constinit thread_local const local_task* now = nullptr;
  return now;
}

void local_task::report(std::uint64_t done, std::uint64_t total, std::string_view text) const {
  // As seldom as from a worker process.
  constexpr std::chrono::milliseconds interval{20};
  constinit thread_local std::uint64_t reported_for = 0;
  constinit thread_local std::chrono::steady_clock::time_point reported_at;
  const auto now = std::chrono::steady_clock::now();
  if (reported_for == number && now - reported_at < interval && (total == 0 || done < total)) {
    return;
  }
  reported_for = number;
  reported_at = now;
  submission->report({done, total, std::string{text.substr(0, max_progress_text)}});
}

std::stop_token local_task::stop_token() const {
  return core->stop_token_of(*submission, item, attempt);
}

bool thread_core::may_begin_more(const worker& self) const {
  return !self.loop || self.loop->active() < static_cast<std::size_t>(options_.concurrency);
}

void thread_core::run(worker& self) {
  if (begin(self)) {
    take_turns(self);
  } else {
    std::vector<sleeper> to_wake;
    {
      const std::lock_guard lock{mutex_};
      withdraw(self, to_wake);
    }
    for (const sleeper& each : to_wake) {
      wake(each);
    }
  }
  leave(self);
}

void thread_core::take_turns(worker& self) {
  claimed work;
  int patience = 0;
  for (;;) {
    enum class next_step : std::uint8_t { run, look_again, loop, sleep, leave } next_step{};
    bool idle_unwatched = false;
    const claimed finished = std::move(work);  // destroyed without the lock, as are the released
    work = {};
    released_submissions released;
    std::vector<sleeper> to_wake;
    sleeper next;
    if (self.loop) {
      if (finished.submission) {
        // Before a coroutine runs, which may take long, and may be what awaits the end of its map.
        const std::lock_guard lock{mutex_};
        self.stopped_running(*finished.submission);
      }
      self.loop->run_ready();
    }
    const bool looping = self.loop && self.loop->active() > 0;
    const bool leftovers = !looping && self.loop && self.loop->has_work();
    const std::uint32_t rung = self.bell->look();
    {
      std::unique_lock lock{mutex_, std::defer_lock};
      lock_patiently(lock);
      if (std::exchange(self.idle, false)) {
        std::erase(idle_, &self);  // its bell rang for something else
      }
      if (std::exchange(self.looking, false)) {
        --looking_;
      }
      if (std::exchange(self.expected, false)) {
        waking_ = false;
      }
      if (finished.submission && !self.loop) {
        self.stopped_running(*finished.submission);
      }
      const bool may_take = may_begin_more(self) && !self.leaving;
      self.free.store(may_take);
      // The last that could begin stays: one that is starting may fail to.
      if (!self.leaving && !closing_ && staying_ > wanted_ && ready_ > 1) {
        withdraw(self, to_wake);
        if (anything_queued()) {
          next = pick_sleeper();  // it may have been woken for that
        }
        next_step = next_step::look_again;
      } else if (may_take && take(self, work, released)) {
        self.free.store(false);
        self.running.push_back(work.submission.get());
        if (anything_queued()) {
          next = pick_sleeper();
        }
        next_step = next_step::run;
      } else if (looping) {
        if (may_take) {
          lenders_.push_back(&self);
        }
        next_step = next_step::loop;
      } else if (self.leaving || (closing_ && not_needed_any_more(self))) {
        self.leaving = true;  // nothing may be bound to it from now on
        std::erase_if(bound_, [&self](const auto& each) { return each.second == &self; });
        next_step = next_step::leave;
      } else if (patience > 0) {
        self.looking = true;
        ++looking_;
        next_step = next_step::look_again;
      } else if (leftovers) {
        lenders_.push_back(&self);  // what tasks left to run after them
        next_step = next_step::loop;
      } else {
        idle_.push_back(&self);
        self.idle = true;
        if (wanted_ > least_) {
          self.idle_since = std::chrono::steady_clock::now();
          idle_unwatched = !std::exchange(idle_watched_, true);
        }
        next_step = next_step::sleep;
      }
    }
    for (const sleeper& each : to_wake) {
      wake(each);
    }
    wake(next);
    switch (next_step) {
      case next_step::look_again:
        while (patience > 0) {
          --patience;
          ::sched_yield();
          if (queued_.load(std::memory_order_relaxed) != 0) {
            break;
          }
        }
        break;
      case next_step::loop:
        if (self.bell->look() == rung) {
          self.loop->wait({});
        }
        {
          const std::lock_guard lock{mutex_};
          std::erase(lenders_, &self);
        }
        break;
      case next_step::sleep:
        if (idle_unwatched) {
          watch_idle();
        }
        self.bell->sleep(rung);
        break;
      case next_step::leave:
        return;
      case next_step::run:
        patience = looks_before_sleep;
        if (work.submission->is_coroutine()) {
          begin_coroutine(self, work.submission, work.first, work.again);
          work = {};  // it is running until it ends
        } else {
          run_claimed(self, work, nullptr);
        }
        break;
    }
  }
}

bool thread_core::not_needed_any_more(const worker& self) const {
  // Not for an attempt that follows, also of what one that leaves already still runs.
  const auto stays = [&self](const auto& each) { return each.get() != &self && !each->leaving; };
  const auto runs = [](const auto& each) { return each->leaving && !each->running.empty(); };
  return pending_retries_.empty() && (std::any_of(workers_.begin(), workers_.end(), stays) ||
                                      std::none_of(workers_.begin(), workers_.end(), runs));
}

void thread_core::withdraw(worker& self, std::vector<sleeper>& to_wake) {
  --staying_;
  ready_ -= self.present ? 1 : 0;
  self.leaving = true;
  rehome(self, to_wake);
}

void thread_core::watch_idle() {
  add_limit(std::chrono::steady_clock::now() + options_.idle_timeout,
            {nullptr, 0, 0, limit::step::let_idle_go});
}

void thread_core::let_idle_go() {
  std::vector<sleeper> to_wake;
  bool some_stay = false;
  {
    const std::lock_guard lock{mutex_};
    const auto now = std::chrono::steady_clock::now();
    std::erase_if(idle_, [&](worker* each) {
      if (wanted_ <= least_ || each->idle_since + options_.idle_timeout > now) {
        return false;
      }
      --wanted_;
      each->idle = false;
      to_wake.push_back(each->bell);
      return true;
    });
    some_stay = !closing_ && wanted_ > least_ && !idle_.empty();
    idle_watched_ = some_stay;
  }
  for (const sleeper& each : to_wake) {
    wake(each);
  }
  if (some_stay) {
    watch_idle();
  }
}

bool thread_core::lend_a_hand(worker& self, const std::shared_ptr<thread_submission>& wanted,
                              const future_state* awaited) {
  claimed work;
  released_submissions released;
  sleeper next;
  {
    const std::lock_guard lock{mutex_};
    if (!(wanted && take_from(self, wanted, work)) && !take(self, work, released)) {
      return false;
    }
    self.running.push_back(work.submission.get());
    if (anything_queued()) {
      next = pick_sleeper();
    }
  }
  wake(next);
  if (work.submission->is_coroutine()) {
    begin_coroutine(self, work.submission, work.first, work.again);
    return true;
  }
  run_claimed(self, work, awaited);
  const std::lock_guard lock{mutex_};
  self.stopped_running(*work.submission);
  return true;
}

void thread_core::run_claimed(worker& self, claimed& work, const future_state* awaited) {
  thread_submission& submission = *work.submission;
  const std::shared_ptr<thread_group> group =
      submission.group;  // may let go of its submissions when all is done
  if (!group) {
    run_item(self, submission, work.first, work.again);
    return;
  }
  const auto begun = std::chrono::steady_clock::now();
  std::int64_t items = 0;
  for (;;) {
    for (std::uint32_t i = 0; i < work.count; ++i) {
      run_item(self, submission, work.first + i, work.again);
    }
    work.again = false;
    items += work.count;
    // What is left of the submission is still in the queue, for others too. No lock to take the
    // next.
    if (std::max(urgency_.load(std::memory_order_relaxed),
                 self.urgency.load(std::memory_order_relaxed)) > submission.options_->priority ||
        (awaited != nullptr && awaited->done())) {
      break;
    }
    work.first = submission.next_.fetch_add(submission.task_range);
    if (work.first >= submission.count_) {
      break;
    }
    work.count = std::min(submission.task_range, submission.count_ - work.first);
    note_claimed(work.count, false);
  }
  const auto taken = std::chrono::steady_clock::now() - begun;
  group->mean_ns.store(
      std::max<std::int64_t>(
          1, std::chrono::duration_cast<std::chrono::nanoseconds>(taken).count() / items),
      std::memory_order_relaxed);
}

std::optional<std::uint32_t> thread_core::enter(thread_submission& submission, std::uint32_t item,
                                                bool again) {
  std::optional<std::uint32_t> attempt{1};
  if (again) {
    attempt = begin_again(submission, item);
    if (!attempt) {
      return std::nullopt;
    }
  }
  if (submission.decided(item)) {  // given up between its claim and now
    submission.drop(item, item + 1);
    return std::nullopt;
  }
  if (submission.group && submission.group->cuts(submission.first_item + item)) {
    submission.drop(item, item + 1);
    if (submission.claim_outcome(item)) {
      fail(submission, item, nullptr,
           plain(errc::cancelled, task_ran::no,
                 "cancelled before it began: another item of its map failed, or the map was given "
                 "up",
                 submission));
    }
    return std::nullopt;
  }
  return attempt;
}

void thread_core::run_item(worker& self, thread_submission& submission, std::uint32_t item,
                           bool again) {
  const auto attempt = enter(submission, item, again);
  if (!attempt) {
    return;
  }
  const local_task now{submission.number_, this, &submission, item, *attempt};
  const local_task* const before = std::exchange(local_task::here(), &now);
  ++self.depth;
  self.note_busy();
  if (submission.options_->timeout) {
    begin_limit(submission, item, *attempt);
  }
  attempt_end how{.item = item, .attempt = *attempt};
  try {
    submission.run(item);
  } catch (...) {
    how.thrown = std::current_exception();
  }
  local_task::here() = before;
  --self.depth;
  self.note_busy();
  if (self.depth == 0 && !submission.group && may_begin_more(self)) {
    self.free.store(true);  // before anybody hears of the outcome, and submits the next
  }
  conclude(self, submission, std::move(how));
}

void thread_core::conclude(worker& self, thread_submission& submission, attempt_end how) {
  const std::uint32_t item = how.item;
  const bool stored = !how.thrown;
  if (submission.options_->timeout) {
    end_limit(submission, item, how.attempt);
  }
  // Why it has no value, if that is so. What ended within the grace time ended too late as well:
  // the answer is the same either way.
  std::shared_ptr<const failure> what;
  bool may_repeat = submission.repeats();
  const limits_of_item limits = limits_on(submission, item);
  if (limits.overdue) {
    what = plain(errc::timeout, task_ran::yes, overdue_text(submission), submission, how.attempt);
    may_repeat = false;
  } else if (limits.cancelled && how.says_it_stopped) {
    what = plain(errc::cancelled, task_ran::yes,
                 "task #" + std::to_string(submission.number_) + " of " + title() +
                     " was cancelled while it ran, and stopped",
                 submission, how.attempt);
    may_repeat = false;
  } else if (limits.timed_out) {
    what = timed_out(submission, how.attempt);
  }
  if (what) {
    how.thrown = nullptr;
  } else if (how.thrown) {
    failure seen = capture_failure(how.thrown);
    seen.task = submission.number_;
    seen.attempt = how.attempt;
    what = std::make_shared<const failure>(std::move(seen));
  }
  // From here on it is known whether there is to be another attempt. Nothing that this one needs is
  // dropped before, and once the item is waiting for a retry it may be running elsewhere.
  if (what && stored) {
    submission.drop_value(item);
  }
  if (what && may_repeat && plan_retry(submission, how, what)) {
    return;
  }
  if (submission.repeats() || submission.is_coroutine()) {
    submission.drop(item, item + 1);  // before anybody hears of the outcome
  }
  if (!submission.claim_outcome(item)) {
    if (!what) {
      submission.drop_value(item);
    }
  } else if (what) {
    fail(submission, item, how.thrown, std::move(what));
  } else {
    // One writer, hence no read-modify-write.
    self.succeeded.store(self.succeeded.load(std::memory_order_relaxed) + 1,
                         std::memory_order_relaxed);
    settle(submission, 1);
  }
}

}  // namespace troupe::detail
