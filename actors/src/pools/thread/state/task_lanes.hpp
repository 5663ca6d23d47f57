// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"

#include "pools/thread/state/ring.hpp"

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
  bool again = false;  ///< it is one item that was waiting for a retry
};

/// Submissions that left the queue: the caller destroys them without the lock, as their destructors
/// are code of the user.
using released_submissions = std::vector<std::shared_ptr<thread_submission>>;

/// The queue of a thread pool, or what is bound to one of its workers: the highest priority first;
/// of one priority retries, and then what was submitted first. A submission stays until all of its
/// items are claimed, and is kept alive until then. Guarded by the scheduler's lock.
///
/// Apart from `task_queue` because of its layout (docs/decisions/0017): the words of a lane that
/// threads at both ends write are in one cache line.
class task_lanes {
 public:
  static constexpr int none = INT32_MIN;

  void push(std::shared_ptr<thread_submission> submission);
  /// Adds an item whose retry is due. It may be cancelled by the time it is claimed.
  void push_again(claimed_items item);
  /// Claims items of the first submission; the queue must not be empty. False: all of its items
  /// were claimed already, and it was removed.
  bool claim(claimed_items& into, released_submissions& released);

  /// Claims an item of this submission whose retry is due. False: there is none.
  bool claim_again(const thread_submission& of, claimed_items& into);
  [[nodiscard]] bool has_again(const thread_submission& of) const;

  /// Removes the submissions of which no item is left to claim, as they were cancelled.
  void remove_used_up(released_submissions& released);

  [[nodiscard]] bool empty() const noexcept { return first() == nullptr; }
  /// The priority of what is first; `none`: it is empty.
  [[nodiscard]] int priority() const noexcept {
    const lane* const found = first();
    return found == nullptr ? none : found->priority;
  }
  [[nodiscard]] std::size_t size() const noexcept;
  /// The submission that `claim` would look at; null: the queue is empty.
  [[nodiscard]] std::shared_ptr<thread_submission> front() const;
  /// All that waits, for a caller that cancels it or gives it to other workers.
  struct contents {
    std::vector<std::shared_ptr<thread_submission>> submissions;
    std::vector<claimed_items> again;
  };
  void take_all(contents& into);

 private:
  struct alignas(64) lane {
    int priority = 0;
    ring<std::shared_ptr<thread_submission>> submissions{};
    std::deque<claimed_items> again{};  ///< retries, which go before all submissions
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
