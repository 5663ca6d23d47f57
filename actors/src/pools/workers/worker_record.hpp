// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "channel/channel.hpp"
#include "pools/submission/nested_outcome.hpp"
#include "pools/submission/task_range.hpp"
#include "scheduling/pool_size.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {

/// A worker's life:
///
///   starting ──ready──▶ ready ──limit reached──▶ retiring ──drained, replaced──▶ stopping ──▶ gone
///      │                  │ └────────────────────── pool closes ──────────────────────┘
///      └──────────────────┴── dies ──▶ gone, replaced
enum class worker_phase : std::uint8_t { starting, ready, retiring, stopping };

/// A range that was sent: its items have the numbers number, number + 1, ...
///
/// A worker's coroutines end in any order. A range that is finished while it is neither the first
/// nor the last one stays in its place, without its submission, until it is.
struct sent_range {
  task_range what;
  std::uint64_t number = 0;
  std::uint32_t done = 0;  ///< items with an outcome, from the front

  [[nodiscard]] std::uint64_t next_number() const noexcept { return number + done; }
  /// Of those that a worker has begun the only one that may run still, unless they are coroutines,
  /// which have a range each: the results of those before it are in the ring, and not read yet.
  /// `undecided`: of the worker's channel.
  [[nodiscard]] std::uint64_t last_begun(std::uint64_t undecided) const noexcept {
    return std::max(next_number(), std::min(number + what.count, undecided) - 1);
  }
  [[nodiscard]] std::uint32_t left() const noexcept { return what.count - done; }
};

/// The items that one worker was sent and that have no outcome, by growing numbers. Keeps their
/// submissions alive, and counts each item in `process_submission::with_workers`, too.
class sent_tasks {
 public:
  [[nodiscard]] std::uint64_t next_number() const noexcept { return next_number_; }
  /// Items without an outcome.
  [[nodiscard]] std::uint32_t outstanding() const noexcept { return outstanding_; }
  /// Items sent in the worker's life, those taken back not counted.
  [[nodiscard]] std::uint64_t assigned() const noexcept { return assigned_; }
  [[nodiscard]] bool empty() const noexcept { return sent_.empty(); }
  [[nodiscard]] const std::deque<sent_range>& all() const noexcept { return sent_; }

  void add(task_range what) {
    const std::uint32_t count = what.count;
    what.work->with_workers += count;
    sent_.push_back({std::move(what), next_number_, 0});
    next_number_ += count;
    outstanding_ += count;
    assigned_ += count;
  }

  /// The range of which the item with that number is the next to end. `in_any_order`: each item has
  /// a range of its own, and all below `undecided` have begun.
  sent_range* find(std::uint64_t number, bool in_any_order, std::uint64_t undecided) {
    if (sent_.empty()) {
      return nullptr;
    }
    sent_range& front = sent_.front();
    if (front.next_number() == number) {
      return &front;
    }
    if (!in_any_order || number >= undecided) {
      return nullptr;
    }
    const auto found = std::lower_bound(
        sent_.begin(), sent_.end(), number,
        [](const sent_range& sent, std::uint64_t wanted) { return sent.number < wanted; });
    return found != sent_.end() && found->number == number && found->what.work ? &*found : nullptr;
  }

  /// The next item of that range has an outcome.
  void finish_item(sent_range& sent) {
    --outstanding_;
    --sent.what.work->with_workers;
    if (++sent.done < sent.what.count) {
      return;
    }
    sent.what.work.reset();
    while (!sent_.empty() && !sent_.front().what.work) {
      sent_.pop_front();
    }
    while (!sent_.empty() && !sent_.back().what.work) {
      sent_.pop_back();
    }
  }

  /// Removes the items from number `first` on, which the worker has not begun, and returns them in
  /// their order.
  std::vector<task_range> take_back(std::uint64_t first) {
    std::vector<task_range> returned;
    while (!sent_.empty()) {
      sent_range& last = sent_.back();
      const std::uint64_t from = std::max(first, last.next_number());
      const std::uint64_t end = last.number + last.what.count;
      if (from >= end) {
        break;
      }
      const auto count = static_cast<std::uint32_t>(end - from);
      const auto offset = static_cast<std::uint32_t>(from - last.number);
      returned.push_back({last.what.work, last.what.first + offset, count, last.what.attempt});
      last.what.work->with_workers -= count;
      outstanding_ -= count;
      assigned_ -= count;
      last.what.count -= count;
      if (last.what.count != last.done) {
        break;
      }
      do {
        sent_.pop_back();
      } while (!sent_.empty() && !sent_.back().what.work);
    }
    std::reverse(returned.begin(), returned.end());
    return returned;
  }

  /// Removes and returns the first range, whose items were begun or are done; none: it is empty.
  std::optional<sent_range> take_front() {
    while (!sent_.empty() && !sent_.front().what.work) {
      sent_.pop_front();
    }
    if (sent_.empty()) {
      return std::nullopt;
    }
    sent_range front = std::move(sent_.front());
    sent_.pop_front();
    outstanding_ -= front.left();
    front.what.work->with_workers -= front.left();
    return front;
  }

  [[nodiscard]] bool has(const process_submission& work) const {
    return work.with_workers > 0 && std::any_of(sent_.begin(), sent_.end(), [&](const auto& sent) {
             return sent.what.work.get() == &work;
           });
  }

 private:
  std::deque<sent_range> sent_;
  std::uint64_t next_number_ = 1;
  std::uint32_t outstanding_ = 0;
  std::uint64_t assigned_ = 0;
};

/// How long a worker's tasks take, and when it last finished or was given something.
struct worker_pace {
  double mean_task_ns = 0;
  bool measured = false;
  bool stalled = false;  ///< all its tasks were taken back unbegun, and it has sent nothing since
  steady_time last_progress{};

  void measure(double ns) {
    mean_task_ns = measured ? mean_task_ns * 0.75 + ns * 0.25 : ns;
    measured = true;
  }
  /// How many tasks the worker may be sent before their results are there.
  [[nodiscard]] std::uint32_t window() const {
    return window_for(std::chrono::nanoseconds{static_cast<std::int64_t>(mean_task_ns)}, measured);
  }
};

/// Why the supervisor itself ends a running task.
enum class stop_reason : std::uint8_t { timeout, overdue, cancelled };

/// A begun task that has a limit, as `limits` knows it.
struct begun_task {
  std::uint64_t worker = 0;
  std::uint64_t number = 0;
};

/// The begun tasks of a worker that the supervisor ends or may have to end; most workers have none.
struct stop_orders {
  std::map<std::uint64_t, stop_reason> reasons{};                  ///< why each one is ended
  std::map<std::uint64_t, std::shared_ptr<begun_task>> limited{};  ///< those with a time limit
  std::set<std::uint64_t> asked{};                                 ///< those asked to stop
  std::deque<std::uint64_t> unsent{};  ///< those of `asked` whose frames are not sent yet
  std::uint64_t killed_for = 0;  ///< the worker was killed to end this one: that death does not
                                 ///< count for the limit of restarts

  [[nodiscard]] const stop_reason* reason(std::uint64_t number) const {
    if (reasons.empty()) {
      return nullptr;
    }
    const auto found = reasons.find(number);
    return found == reasons.end() ? nullptr : &found->second;
  }
};

/// The tasks that the running task of a worker has submitted to the pool.
struct task_children {
  std::map<std::uint64_t, std::shared_ptr<process_submission>> by_ticket{};
  std::uint32_t depth = 0;                     ///< of the running task
  std::shared_ptr<const attachment> socket{};  ///< on which their outcomes are sent
  std::deque<outcome_message> outcomes{};      ///< those the socket had no room for
};

/// Whether frames for a worker can be sent now.
struct flow {
  bool blocked = false;        ///< no room in its ring or its socket
  bool unblock_timer = false;  ///< looks again
  bool bell_due = false;       ///< frames were published
  bool stop_due = false;       ///< it is to leave, and was not told yet
};

/// Reasons for a worker's end that the supervisor knows before its process has ended.
struct end_notes {
  std::shared_ptr<const failure> start_failure{};
  std::string killed_because{};
};

/// All that a supervisor knows of one worker. Owns the worker's channel, and through `sent` and
/// `children` keeps submissions alive. Removed when the worker's process has ended.
struct worker_record {
  std::uint64_t id = 0;
  std::int64_t pid = 0;
  worker_phase phase = worker_phase::starting;
  retirement retiring_for = retirement::none;
  retirement due_for = retirement::none;  ///< it works until its successor is ready, then retires
  std::uint64_t task_limit = UINT64_MAX;  ///< how many tasks it may be given in its life
  bool greeted = false;                   ///< its hello was accepted
  bool leaving = false;  ///< its channel ended or it was killed: nothing more is sent to it
  std::unique_ptr<supervisor_channel> channel{};
  sent_tasks sent{};
  worker_pace pace{};
  stop_orders stops{};
  task_children children{};
  flow room{};
  end_notes notes{};
  steady_time memory_checked{};

  [[nodiscard]] bool usable() const { return phase == worker_phase::ready && !leaving; }
  /// Counts towards the size of the pool: is not to be replaced.
  [[nodiscard]] bool staying() const {
    return phase == worker_phase::starting || (usable() && due_for == retirement::none);
  }
  /// The task that it runs has submitted tasks which have no outcome yet.
  [[nodiscard]] bool is_parent() const { return !children.by_ticket.empty(); }
};

}  // namespace troupe::detail
