// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"

#include "pools/thread/work/ring.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

namespace troupe::detail {

/// Items of one submission that a worker has claimed.
struct claimed_items {
  std::shared_ptr<thread_submission> submission;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  bool again = false;  ///< one item that was waiting for a retry
};

/// Submissions that left the queue: destroyed without the lock, as their destructors are the
/// user's.
using released_submissions = std::vector<std::shared_ptr<thread_submission>>;

/// What waits for a worker: the highest priority first; in one priority retries, and then what was
/// submitted first. A submission stays until all of its items are claimed.
///
/// Laid out for the threads at both of its ends: a lane's words that both write are in one cache
/// line.
class task_lanes {
 public:
  static constexpr int none = INT32_MIN;

  void push(std::shared_ptr<thread_submission> submission);
  /// May have been cancelled meanwhile.
  void push_again(claimed_items item);
  /// Claims what is first, of a queue that is not empty. False: all of that was claimed already,
  /// and it is gone.
  bool claim(claimed_items& into, released_submissions& released);

  [[nodiscard]] bool empty() const noexcept { return first() == nullptr; }
  /// Of what is first; `none`: nothing waits.
  [[nodiscard]] int priority() const noexcept {
    const lane* const found = first();
    return found == nullptr ? none : found->priority;
  }
  [[nodiscard]] std::size_t size() const noexcept;
  /// All that waits, to be cancelled or given to other workers.
  struct contents {
    std::vector<std::shared_ptr<thread_submission>> submissions;
    std::vector<claimed_items> again;
  };
  void take_all(contents& into);

 private:
  struct alignas(64) lane {
    int priority = 0;
    ring<std::shared_ptr<thread_submission>> submissions{};
    std::deque<claimed_items> again{};  ///< before all others
    [[nodiscard]] bool empty() const noexcept { return submissions.empty() && again.empty(); }
  };
  [[nodiscard]] const lane* first() const noexcept {
    for (const lane& each : lanes_) {
      if (!each.empty()) {
        return &each;
      }
    }
    return nullptr;
  }
  lane& lane_for(int priority);

  std::vector<lane> lanes_;
};

}  // namespace troupe::detail
