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

/// Which attempt at an item one is, and how many of those before it cost no retry.
struct attempt_count {
  std::uint32_t number = 1;    ///< 1: the first one
  std::uint32_t forgiven = 0;  ///< ended by what a neighbour did

  /// It ended, but by no fault of its own.
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

/// Items between two attempts: it is being asked whether there is a next one, or the next one is
/// not due yet. Found by number, by task and by time, log n each.
template <class Task, class Waiting>
class attempts {
 public:
  /// The number by which it is found; nothing is due before `schedule`.
  std::uint64_t add(const Task& task, Waiting what) {
    const std::uint64_t number = ++last_;
    entries_.emplace(number, entry{&task, steady_time::max(), std::move(what)});
    of_task_.emplace(&task, number);
    return number;
  }
  /// The next attempt begins then. Nothing, if that number is not waiting any more.
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
  /// It waits no more; nothing: it did not any more.
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
  /// The earliest whose attempt is due by now.
  std::optional<Waiting> take_due(steady_time now) {
    if (by_time_.empty() || by_time_.begin()->first > now) {
      return std::nullopt;
    }
    return take(by_time_.begin()->second);
  }
  /// All of one task.
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
    steady_time when;  ///< max: not decided
    Waiting what;
  };
  std::map<std::uint64_t, entry> entries_;
  std::set<std::pair<const Task*, std::uint64_t>> of_task_;
  std::set<std::pair<steady_time, std::uint64_t>> by_time_;
  std::uint64_t last_ = 0;
};

}  // namespace troupe::detail
