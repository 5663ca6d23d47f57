// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>

namespace troupe::detail {

/// Numbers the submissions of a thread pool, and counts their items: how many ever came, how many
/// wait. A part of the queue that stands beside the lock, guarded by it, but for `size`,
/// `looks_empty` and `left`, which any thread may call.
class queue_count {
 public:
  /// Items that no worker has claimed.
  [[nodiscard]] std::uint64_t size() const noexcept { return queued_.load(); }
  [[nodiscard]] bool looks_empty() const noexcept {
    return queued_.load(std::memory_order_relaxed) == 0;
  }
  /// So many were claimed or cancelled.
  void left(std::uint64_t items) noexcept { queued_.fetch_sub(items); }
  /// So many are queued again.
  void came_back(std::uint64_t items) noexcept {
    queued_.fetch_add(items, std::memory_order_relaxed);
  }
  /// Returns the number of a new submission.
  [[nodiscard]] std::uint64_t submit(std::uint64_t items) noexcept {
    submitted_ += items;
    queued_.fetch_add(items, std::memory_order_relaxed);
    return next_number_++;
  }
  /// Items that ever came, but for those that came back.
  [[nodiscard]] std::uint64_t submitted() const noexcept { return submitted_; }

 private:
  std::atomic<std::uint64_t> queued_{0};
  std::uint64_t submitted_ = 0;
  std::uint64_t next_number_ = 1;
};

}  // namespace troupe::detail
