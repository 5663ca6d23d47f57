// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "scheduling/affinity_keys.hpp"

#include <algorithm>
#include <climits>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {

/// Owns the ranges that wait for a worker: what is nested deeper first, of one depth a higher
/// priority, of equals what came first. A range with an affinity key waits for the worker to which
/// the key is bound, while there is one. A range that a task has submitted does not wait for a
/// worker that is blocked, as this may be the worker of that task.
///
/// A `Range` has `depth()` (0: no task has submitted it), `priority()`, `affinity()` (empty: none),
/// and `is_over()`: it was decided while it waited, and is dropped when its turn comes, or when most
/// are. So what is cancelled need not be looked for.
template <class Range>
class task_queue {
 public:
  /// Adds a range behind all others of its depth and priority.
  void push(Range what) {
    const rank level = rank_of(what);
    if (level.depth == 0) {
      lowest_ = std::min(lowest_, level.priority);
    }
    any_[level].push_back(std::move(what));
  }
  /// Adds a range in front of all others of its depth and priority, before which it was here.
  void push_front(Range what) { any_[rank_of(what)].push_front(std::move(what)); }
  /// True: something of a lower priority has ever waited here.
  [[nodiscard]] bool may_overtake(int priority) const noexcept { return priority > lowest_; }

  /// One more that waits here is over. They leave when they are most of what waits.
  void note_over() {
    // Not at each one: to count what waits takes a step for every priority.
    constexpr std::size_t looks_after = 1024;
    if (++over_ % looks_after != 0 || over_ < size() / 2) {
      return;
    }
    over_ = 0;
    sweep([](const Range& what) { return !what.is_over(); });
  }

  /// What any worker may take next; null: nothing. What waits for a certain one is put aside.
  Range* next() {
    while (!any_.empty()) {
      auto& waiting = any_.begin()->second;
      while (!waiting.empty()) {
        Range& front = waiting.front();
        if (!front.is_over()) {
          std::deque<Range>* const line = line_for(front);
          if (line == nullptr) {
            return &front;
          }
          put_aside(*line, std::move(front));
        }
        waiting.pop_front();
      }
      if (any_.size() == 1) {
        return nullptr;  // the level is kept: the next range most likely has this priority, too
      }
      any_.erase(any_.begin());
    }
    return nullptr;
  }
  /// Removes what `next` returned.
  void pop() { any_.begin()->second.pop_front(); }

  /// The first range in that worker's line, if no other range that the worker may take is deeper or
  /// has a higher priority; null otherwise.
  Range* next_of(std::uint64_t worker) {
    const auto line = lines_.find(worker);
    if (line == lines_.end()) {
      return nullptr;
    }
    while (!line->second.empty() && line->second.front().is_over()) {
      line->second.pop_front();
    }
    if (line->second.empty()) {
      lines_.erase(line);
      return nullptr;
    }
    Range& front = line->second.front();
    const auto rival = std::find_if(any_.begin(), any_.end(),
                                    [](const auto& level) { return !level.second.empty(); });
    return rival != any_.end() && rival->first > rank_of(front) ? nullptr : &front;
  }
  void pop_of(std::uint64_t worker) { lines_.find(worker)->second.pop_front(); }
  /// True: there is something in that worker's line.
  [[nodiscard]] bool waits_for(std::uint64_t worker) const { return lines_.contains(worker); }

  /// Ranges with this key wait for that worker from now on, unless the key is bound.
  void bind(const std::string& key, std::uint64_t worker) { keys_.bind(key, worker); }
  [[nodiscard]] bool is_bound(const std::string& key) { return keys_.find(key) != nullptr; }
  /// How many keys are bound to the worker.
  [[nodiscard]] std::size_t keys_of(std::uint64_t worker) const { return keys_.count(worker); }
  /// True: something waits for a certain worker.
  [[nodiscard]] bool has_lines() const noexcept { return !lines_.empty(); }
  /// The worker runs a task that waits for tasks: what tasks have submitted and is in its line is
  /// given back to all workers.
  void block(std::uint64_t worker) {
    blocked_.insert(worker);
    const auto found = lines_.find(worker);
    if (found == lines_.end()) {
      return;
    }
    std::deque<Range> kept;
    for (auto it = found->second.rbegin(); it != found->second.rend(); ++it) {
      if (it->depth() == 0) {
        kept.push_front(std::move(*it));
      } else {
        push_front(std::move(*it));
      }
    }
    if (kept.empty()) {
      lines_.erase(found);
    } else {
      found->second = std::move(kept);
    }
  }
  void unblock(std::uint64_t worker) { blocked_.erase(worker); }

  /// Frees the keys of a worker that takes nothing more, and gives its line back to all workers.
  /// True: there was something in it.
  bool unbind(std::uint64_t worker) {
    keys_.unbind(worker);
    auto line = lines_.extract(worker);
    if (line.empty()) {
      return false;
    }
    for (auto it = line.mapped().rbegin(); it != line.mapped().rend(); ++it) {
      push_front(std::move(*it));
    }
    return true;
  }

  /// Calls `keep` for every range in the order in which they wait, and removes those for which it
  /// returns false. It may change a range, but not the queue.
  template <class Keep>
  void sweep(const Keep& keep) {
    const auto sweep_one = [&](std::deque<Range>& line) {
      std::erase_if(line, [&](Range& what) { return !keep(what); });
    };
    for (auto& [priority, line] : any_) {
      sweep_one(line);
    }
    for (auto& [worker, line] : lines_) {
      sweep_one(line);
    }
    std::erase_if(lines_, [](const auto& line) { return line.second.empty(); });
  }
  /// Removes and returns everything.
  std::vector<Range> take_all() {
    std::vector<Range> all;
    sweep([&](Range& what) {
      all.push_back(std::move(what));
      return false;
    });
    any_.clear();
    return all;
  }

 private:
  struct rank {
    std::uint32_t depth = 0;
    int priority = 0;
    auto operator<=>(const rank&) const = default;
  };
  static rank rank_of(const Range& what) { return {what.depth(), what.priority()}; }

  [[nodiscard]] std::size_t size() const {
    std::size_t ranges = 0;
    for (const auto& [priority, waiting] : any_) {
      ranges += waiting.size();
    }
    for (const auto& [worker, waiting] : lines_) {
      ranges += waiting.size();
    }
    return ranges;
  }
  std::deque<Range>* line_for(const Range& what) {
    const std::uint64_t* const bound =
        what.affinity().empty() ? nullptr : keys_.find(what.affinity());
    if (bound == nullptr || (what.depth() > 0 && blocked_.contains(*bound))) {
      return nullptr;
    }
    return &lines_[*bound];
  }
  static void put_aside(std::deque<Range>& line, Range&& what) {
    const auto later_one = std::find_if(
        line.begin(), line.end(),
        [least = rank_of(what)](const Range& other) { return rank_of(other) < least; });
    line.insert(later_one, std::move(what));
  }

  std::map<rank, std::deque<Range>, std::greater<>> any_;
  std::map<std::uint64_t, std::deque<Range>> lines_;  // by the worker they wait for
  affinity_keys<std::uint64_t> keys_;
  std::set<std::uint64_t> blocked_;  // workers
  int lowest_ = INT_MAX;             // of all that came
  std::size_t over_ = 0;             // at most so many are over, and were not swept out
};

}  // namespace troupe::detail
