// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/policy.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace troupe::detail {

/// The number of an attempt at an item, and how many of the attempts before it cost no retry.
struct attempt_count {
  std::uint32_t number = 1;    ///< 1: the first one
  std::uint32_t forgiven = 0;  ///< those ended by another task of the same worker

  /// The attempt was ended by another task of the same worker, and costs no retry.
  void forgive() noexcept { ++forgiven; }
  [[nodiscard]] attempt_count next() const noexcept { return {number + 1, forgiven}; }
  /// Attempts that count against the retries, this one included.
  [[nodiscard]] std::uint32_t charged() const noexcept { return number - forgiven; }
  /// May another attempt follow this one?
  [[nodiscard]] bool may_be_repeated(int retries) const noexcept {
    return retries > 0 && charged() <= static_cast<std::uint32_t>(retries);
  }
  /// How long this attempt, which is not the first, waits before it begins.
  [[nodiscard]] std::chrono::milliseconds delay(std::chrono::milliseconds backoff) const {
    return retry_delay(backoff, std::max(1U, charged() - 1));
  }
};

/// Owns the items between two attempts: those whose predicate has not answered, and those whose
/// next attempt is not due. Finds them by number, by task and by time in log n steps.
///
/// @threads one at a time; the caller guards it.
template <class Task, class Waiting>
class attempts {
 public:
  /// Adds an item and returns its number. Its attempt is not due before `schedule` says when.
  std::uint64_t add(const Task& task, Waiting what) {
    const std::uint64_t number = ++last_;
    entries_.emplace(number, entry{&task, steady_time::max(), std::move(what)});
    of_task_.emplace(&task, number);
    return number;
  }
  /// Sets when the next attempt begins. Does nothing if that number does not wait any more.
  void schedule(std::uint64_t number, steady_time when) {
    if (const auto found = entries_.find(number); found != entries_.end()) {
      by_time_.erase({found->second.when, number});
      found->second.when = when;
      by_time_.emplace(when, number);
    }
  }
  [[nodiscard]] const Waiting* find(std::uint64_t number) const {
    const auto found = entries_.find(number);
    return found == entries_.end() ? nullptr : &found->second.what;
  }
  /// Removes and returns it; none: that number does not wait.
  std::optional<Waiting> take(std::uint64_t number) {
    auto found = entries_.extract(number);
    if (found.empty()) {
      return std::nullopt;
    }
    of_task_.erase({found.mapped().task, number});
    by_time_.erase({found.mapped().when, number});
    return std::move(found.mapped().what);
  }
  [[nodiscard]] std::optional<steady_time> next() const {
    return by_time_.empty() ? std::nullopt : std::optional{by_time_.begin()->first};
  }
  /// Removes and returns the earliest whose attempt is due; none: no attempt is.
  std::optional<Waiting> take_due(steady_time now) {
    if (by_time_.empty() || by_time_.begin()->first > now) {
      return std::nullopt;
    }
    return take(by_time_.begin()->second);
  }
  /// Removes and returns all of one task.
  std::vector<Waiting> take_of(const Task& task) {
    std::vector<Waiting> taken;
    for (auto it = of_task_.lower_bound({&task, 0}); it != of_task_.end() && it->first == &task;
         it = of_task_.lower_bound({&task, 0})) {
      taken.push_back(*take(it->second));
    }
    return taken;
  }
  template <class Which>
  std::vector<Waiting> take_if(const Which& which) {
    std::vector<std::uint64_t> numbers;
    for (const auto& [number, one] : entries_) {
      if (which(one.what)) {
        numbers.push_back(number);
      }
    }
    std::vector<Waiting> taken;
    for (const std::uint64_t number : numbers) {
      taken.push_back(*take(number));
    }
    return taken;
  }
  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct entry {
    const Task* task;
    steady_time when;  ///< max: not scheduled
    Waiting what;
  };
  std::map<std::uint64_t, entry> entries_;
  std::set<std::pair<const Task*, std::uint64_t>> of_task_;
  std::set<std::pair<steady_time, std::uint64_t>> by_time_;
  std::uint64_t last_ = 0;
};

}  // namespace troupe::detail
