// SPDX-License-Identifier: BSD-3-Clause

// How tasks of a thread pool end: each item once, by whoever comes first.

#include "pools/thread/thread_core_impl.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

void thread_core::settle(thread_submission& submission, std::uint32_t items) {
  if (submission.left_.fetch_sub(items) != items) {
    return;
  }
  std::shared_ptr<const failure> first;
  if (submission.rare_) {
    auto& ends = submission.rare_->ends;
    std::sort(ends.begin(), ends.end(),
              [](const auto& a, const auto& b) { return a.item < b.item; });
    if (!ends.empty()) {
      first = ends.front().what;
    }
  }
  const std::shared_ptr<thread_group> group = submission.group;
  if (submission.options_->deadline) {
    forget_deadline(submission);
  }
  submission.finish(std::move(first));
  if (group) {
    group->submission_done(submission);
  }
}

void thread_core::fail(thread_submission& submission, std::uint32_t item,
                       const std::exception_ptr& thrown, std::shared_ptr<const failure> what) {
  const bool was_cancelled = what->code == errc::cancelled && !thrown;
  (was_cancelled ? cancelled_ : failed_).fetch_add(1, std::memory_order_relaxed);
  if (submission.group) {
    ++(was_cancelled ? submission.group->cancelled_items : submission.group->failed_items);
  }
  {
    const std::lock_guard lock{control_};
    submission.rare().ends.push_back({item, thrown, std::move(what)});
  }
  if (submission.group && submission.group->all_or_nothing && !was_cancelled &&
      submission.group->cut_after(submission.first_item + item) &&
      submission.group->stops_what_it_cuts) {
    stop_what_is_cut(*submission.group);
  }
  settle(submission, 1);
}

std::shared_ptr<const failure> thread_core::plain(errc code, task_ran ran, const std::string& text,
                                                  const thread_submission& submission,
                                                  std::uint32_t attempt) const {
  auto what = std::make_shared<failure>();
  what->code = code;
  what->ran = ran;
  what->text = text;
  what->task = submission.number_;
  what->attempt = ran == task_ran::no ? 0 : attempt;
  return what;
}

thread_core::concluding::concluding(thread_core& of) : of_{of} {
  const std::lock_guard lock{of_.control_};
  of_.concluding_.push_back(std::this_thread::get_id());
}

thread_core::concluding::~concluding() {
  const std::lock_guard lock{of_.control_};
  auto& all = of_.concluding_;
  all.erase(std::find(all.begin(), all.end(), std::this_thread::get_id()));
  of_.concluded_.notify_all();
}

bool thread_core::wait_until_concluded(const deadline& until) {
  std::unique_lock lock{control_};
  // A pool may end in what its cancellation runs, as the destructor of an argument: the calling
  // thread goes on with the cancellation afterwards, and nobody can wait for it until then.
  const auto own = std::this_thread::get_id();
  const std::size_t times = std::erase(concluding_, own);
  if (times > 0) {
    concluded_.notify_all();
  }
  const auto none = [&] { return concluding_.empty(); };
  bool in_time = true;
  if (!until) {
    concluded_.wait(lock, none);
  } else {
    in_time = concluded_.wait_until(lock, *until, none);
  }
  concluding_.insert(concluding_.end(), times, own);
  return in_time;
}

std::uint32_t thread_core::cancel_rest(thread_submission& which, const std::string& why,
                                       errc code) {
  const concluding now{*this};  // before the workers find that nothing is left of it
  const std::uint32_t count = which.count_;
  const std::uint32_t first = std::min(which.next_.exchange(count), count);
  if (first < count) {
    note_claimed(count - first, false);
    which.drop(first, count);
  } else if (!which.repeats()) {
    return 0;
  }
  const auto what = plain(code, task_ran::no, why, which);
  std::uint32_t ended = 0;
  std::vector<thread_submission::item_end> pending_retries;
  {
    const std::lock_guard lock{control_};
    if (which.rare_) {
      pending_retries.swap(which.rare_->pending_retries);
    }
    const auto end = [&](std::uint32_t item) {
      if (which.claim_outcome(item)) {
        which.rare().ends.push_back({item, nullptr, what});
        ++ended;
      }
    };
    for (std::uint32_t item = first; item < count; ++item) {
      end(item);
    }
    for (const auto& each : pending_retries) {
      end(each.item);
    }
  }
  if (!pending_retries.empty()) {
    for (const auto& each : pending_retries) {
      which.drop(each.item, each.item + 1);
    }
    drop_retries(which, pending_retries.size());
  }
  (code == errc::cancelled ? cancelled_ : failed_).fetch_add(ended, std::memory_order_relaxed);
  if (which.group) {
    (code == errc::cancelled ? which.group->cancelled_items : which.group->failed_items) += ended;
  }
  if (ended > 0) {
    settle(which, ended);
  }
  return ended;
}

}  // namespace troupe::detail
