// SPDX-License-Identifier: BSD-3-Clause

// Outcomes that tasks get here: a worker's answer is settled, and what has not begun fails or is
// cancelled.

#include "pools/process/supervisor_actor.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

void supervisor::settle_value(process_submission& work) {
  ++stats_.succeeded;
  work.finish_if_complete();
}

void supervisor::settle_failure(process_submission& work, std::uint32_t item,
                                const std::shared_ptr<const failure>& why) {
  ++(why->code == errc::cancelled ? stats_.cancelled : stats_.failed);
  work.store_failure(item, why);
  if (work.group && work.group->all_or_nothing && why->code != errc::cancelled) {
    work.group->cut_after(work.number, item);
    sweeps_.push_back(work.group);
  }
  work.finish_if_complete();
}

void supervisor::fail_pending(process_submission& work, errc code, const std::string& text) {
  auto why = std::make_shared<failure>();
  why->code = code;
  why->ran = task_ran::no;
  why->text = text;
  why->task = work.number;
  const std::shared_ptr<const failure> shared = std::move(why);
  for (std::uint32_t item = 0; item < work.count && !work.done(); ++item) {
    if (!work.decided(item)) {
      ++(code == errc::cancelled ? stats_.cancelled : stats_.failed);
      work.store_failure(item, shared);
    }
  }
  work.finish_if_complete();
}

void supervisor::fail_everything(errc code, const std::string& text) {
  auto why = std::make_shared<failure>();
  why->code = code;
  why->ran = task_ran::no;
  why->text = text;
  const std::shared_ptr<const failure> shared = std::move(why);
  drop_retries([](const task_range&) { return true; }, shared);
  std::vector<std::deque<task_range>> waiting;
  each_queue([&](std::deque<task_range>& one) { waiting.push_back(std::exchange(one, {})); });
  queue_.clear();
  for (auto& task_ranges : waiting) {
    for (task_range& what : task_ranges) {
      if (what.work->done() || what.work->decided(what.first)) {
        continue;
      }
      for (std::uint32_t i = 0; i < what.count; ++i) {
        ++(code == errc::cancelled ? stats_.cancelled : stats_.failed);
        what.work->store_failure(what.first + i, shared);
      }
      queued_ -= what.count;
      core_.note_dequeued(what.count);
      what.work->finish_if_complete();
    }
  }
}

bool supervisor::cancel(process_submission& which, bool force) {
  if (which.done()) {
    return false;
  }
  if (!pending_retries_.empty()) {
    auto why = std::make_shared<failure>();
    why->code = errc::cancelled;
    why->ran = task_ran::maybe;
    why->task = which.number;
    why->text = which.name() + " was cancelled between two attempts";
    drop_retries([&](const task_range& what) { return what.work.get() == &which; }, why);
    if (which.done()) {
      return true;
    }
  }
  for (worker_record* worker : ring_) {
    const bool has =
        std::any_of(worker->sent.begin(), worker->sent.end(),
                    [&](const sent_range& sent) { return sent.what.work.get() == &which; });
    if (has) {
      take_back(*worker);
    }
  }
  std::uint64_t with_workers = 0;
  for (worker_record* worker : ring_) {
    for (const sent_range& sent : worker->sent) {
      if (sent.what.work.get() != &which) {
        continue;
      }
      with_workers += sent.what.count - sent.done;
      const std::uint64_t number = sent.number + sent.done;
      if (force) {
        stop_task(*worker, number, stop_reason::cancelled, grace_of(which));
      } else {
        request_stop(*worker, number);
      }
    }
  }
  if (with_workers > 0) {
    return false;
  }
  std::uint32_t waiting = 0;
  for (std::uint32_t item = 0; item < which.count; ++item) {
    waiting += which.decided(item) ? 0 : 1;
  }
  queued_ -= waiting;
  core_.note_dequeued(waiting);
  stats_.cancelled += waiting;
  which.end_cancelled();
  dispatch_due_ = true;
  return true;
}

void supervisor::sweep_group(const std::shared_ptr<submission_group>& group) {
  for (worker_record* worker : std::vector<worker_record*>{ring_}) {
    const bool has = std::any_of(
        worker->sent.begin(), worker->sent.end(),
        [&](const sent_range& sent) { return sent.what.work && sent.what.work->group == group; });
    if (has) {
      take_back(*worker);
    }
  }
  auto why = std::make_shared<failure>();
  why->code = errc::cancelled;
  why->ran = task_ran::no;
  why->text = "cancelled before it began: another item of its map failed, or the map was given up";
  const std::shared_ptr<const failure> shared = std::move(why);
  drop_retries(
      [&](const task_range& what) {
        return what.work->group == group && group->cuts(*what.work, what.first);
      },
      shared);
  each_queue([&](std::deque<task_range>& task_ranges) {
    std::deque<task_range> kept;
    for (task_range& what : task_ranges) {
      if (what.work->group != group || what.work->done()) {
        kept.push_back(std::move(what));
        continue;
      }
      std::uint32_t keep = 0;  // items before the cut
      while (keep < what.count && !group->cuts(*what.work, what.first + keep)) {
        ++keep;
      }
      for (std::uint32_t i = keep; i < what.count; ++i) {
        ++stats_.cancelled;
        what.work->store_failure(what.first + i, shared);
      }
      queued_ -= what.count - keep;
      core_.note_dequeued(what.count - keep);
      if (keep > 0) {
        what.count = keep;
        kept.push_back(std::move(what));
      } else {
        const auto work = std::move(what.work);
        work->finish_if_complete();
      }
    }
    task_ranges = std::move(kept);
  });
  dispatch_due_ = true;
}

std::uint64_t supervisor::with_workers(const submission_group& group) const {
  std::uint64_t items = 0;
  for (const worker_record* worker : ring_) {
    for (const sent_range& sent : worker->sent) {
      items +=
          sent.what.work && sent.what.work->group.get() == &group ? sent.what.count - sent.done : 0;
    }
  }
  return items;
}

void supervisor::cancel_group(const std::shared_ptr<submission_group>& group) {
  group->cut_after(0, 0);  // submissions are numbered from 1
  sweep_group(group);
}

}  // namespace troupe::detail
