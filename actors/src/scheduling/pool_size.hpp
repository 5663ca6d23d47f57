// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/policy.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>

namespace troupe::detail {

/// How many extra workers a pool may have, for workers whose tasks wait for tasks of their own.
inline constexpr int max_extra_workers = 64;

/// Decides how many workers a pool is to have.
///
/// An elastic pool wants more while tasks wait, and fewer when workers are idle. A worker whose
/// task waits for tasks of its own (a *parent*) does not count while tasks wait for a worker: one
/// extra worker may be started for each. While there are as many parents as the pool is to have
/// workers, no further task begins that could become a parent of the same depth: all workers are
/// left to the tasks that the parents wait for, so that there are few extra ones however many
/// parents wait to begin.
///
/// @threads one at a time; the caller guards it.
class pool_size {
 public:
  pool_size(int least, int most) : least_{least}, most_{most}, target_{least} {}

  /// Workers wanted now, extra ones included.
  [[nodiscard]] int wanted() const noexcept { return target_ + extra_; }
  /// Without extra ones.
  [[nodiscard]] int target() const noexcept { return target_; }
  [[nodiscard]] int least() const noexcept { return least_; }
  [[nodiscard]] int most() const noexcept { return most_; }
  [[nodiscard]] bool elastic() const noexcept { return least_ < most_; }
  [[nodiscard]] bool may_grow() const noexcept { return elastic() && target_ < most_; }
  [[nodiscard]] bool may_shrink() const noexcept { return elastic() && target_ > least_; }
  [[nodiscard]] int parents() const noexcept { return parents_; }

  void set(int workers) noexcept { least_ = most_ = target_ = workers; }
  /// No more than that can be started. Workers that exist stay.
  void limit(int most) noexcept {
    least_ = std::min(least_, most);
    most_ = most;
  }
  /// Raises the target for so many waiting tasks, when no worker is starting. It doubles at most,
  /// so that a burst of short tasks does not start all workers that the pool may have.
  void grow(std::uint64_t waiting) noexcept {
    const auto more =
        std::min<std::uint64_t>(waiting, static_cast<std::uint64_t>(std::max(target_, 1)));
    target_ = std::min(most_, target_ + std::max(static_cast<int>(more), 1));
  }
  /// Lowers the target by one worker, which was idle for too long.
  void shrink() noexcept { --target_; }
  /// How many of `staying` workers are too many.
  [[nodiscard]] int surplus(int staying) const noexcept { return std::max(staying - wanted(), 0); }

  /// `depth`: of the task; 0: no task has submitted it.
  void add_parent(std::uint32_t depth) {
    ++parents_;
    ++parents_by_depth_[depth];
  }
  void remove_parent(std::uint32_t depth) {
    --parents_;
    if (const auto found = parents_by_depth_.find(depth); --found->second == 0) {
      parents_by_depth_.erase(found);
    }
  }
  /// Whether a task of that depth may begin. Then so may all that are nested deeper.
  [[nodiscard]] bool may_begin(std::uint32_t depth) const noexcept {
    const int most = std::max(target_, 1);
    int parents = parents_;
    for (auto it = parents_by_depth_.begin(); parents >= most; ++it) {
      if (it == parents_by_depth_.end() || it->first >= depth) {
        return false;
      }
      parents -= it->second;
    }
    return true;
  }
  /// How many tasks may run at a time that do not wait for tasks. Where few extra workers are left,
  /// some are kept for what is nested deeper: each of these tasks may become a parent.
  [[nodiscard]] int may_run() const noexcept {
    constexpr int kept = 8;
    const int left = most_ + max_extra_workers - parents_;
    return std::clamp(left - std::min(left / 2, kept), 1, std::max(target_, 1));
  }
  /// There are so many parents that no further extra worker is started.
  [[nodiscard]] bool too_many_parents() const noexcept {
    return parents_ >= most_ + max_extra_workers;
  }
  enum class change : std::uint8_t { none, more, fewer };
  /// One more extra worker may be started for a task that waits.
  [[nodiscard]] bool may_compensate() const noexcept {
    return extra_ < std::min(parents_, max_extra_workers);
  }
  /// Adjusts the number of extra workers, and returns how it changed. `waiting`: a task that may
  /// begin waits for any worker; `room`: a worker can take it, or will soon; `more_wait`: tasks
  /// wait, whether they may begin or not.
  ///
  /// Some stay while parents come and go: a start for each parent takes longer than most tasks.
  change compensate(bool waiting, bool room, bool more_wait) noexcept {
    const int needed = waiting ? std::min(parents_, max_extra_workers) : std::min(extra_, parents_);
    const int kept =
        parents_ > 0 || more_wait ? std::min(extra_, std::max(2 * parents_, 4 * target_)) : 0;
    const int extra = std::max(needed, kept);
    if (extra > extra_ && room) {
      return change::none;
    }
    const change made = extra > extra_   ? change::more
                        : extra < extra_ ? change::fewer
                                         : change::none;
    extra_ = extra;
    return made;
  }

 private:
  int least_;        // workers kept when there is nothing to do
  int most_;         // workers while there is much to do
  int target_;       // workers wanted now, without extra ones
  int parents_ = 0;  // workers whose tasks have tasks of their own
  int extra_ = 0;    // workers wanted beyond target_
  std::map<std::uint32_t, int> parents_by_depth_;
};

/// Why a worker is told to leave, other than a failure.
enum class retirement : std::uint8_t { none, tasks, age, memory, surplus };

/// When a worker is replaced by a fresh one.
struct recycling_rules {
  std::optional<int> max_tasks{};
  std::optional<std::uint64_t> max_resident_bytes{};

  [[nodiscard]] std::uint64_t task_limit() const noexcept {
    return max_tasks ? static_cast<std::uint64_t>(*max_tasks) : UINT64_MAX;
  }
  /// Whether to read a worker's memory after a task: always if it is idle, otherwise at most once
  /// in an interval.
  [[nodiscard]] bool looks_at_memory(bool busy, steady_time now, steady_time last) const {
    constexpr std::chrono::milliseconds interval{20};
    return max_resident_bytes && (!busy || now - last >= interval);
  }
  [[nodiscard]] bool too_large(std::uint64_t resident_bytes) const noexcept {
    return max_resident_bytes && resident_bytes > *max_resident_bytes;
  }
};

/// Whether a worker that is to leave and has no tasks may leave now: a surplus one at once, any
/// other when its replacement is ready.
[[nodiscard]] constexpr bool may_leave(retirement why, int ready, int target,
                                       bool some_start) noexcept {
  return why == retirement::surplus || ready >= target || !some_start;
}

/// Whether one of two surplus workers leaves before the other: the one with fewer tasks; of equals
/// the younger one, whose caches are colder.
[[nodiscard]] constexpr bool goes_before(std::uint32_t tasks, std::uint64_t id,
                                         std::uint32_t other_tasks,
                                         std::uint64_t other_id) noexcept {
  return tasks != other_tasks ? tasks < other_tasks : id > other_id;
}

}  // namespace troupe::detail
