// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"

#include "base/thread_safety.hpp"
#include "pools/thread/state/item_records.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

namespace troupe::detail {

/// How an attempt ended, on the thread that ran it.
struct attempt_end {
  std::uint32_t item = 0;
  std::uint32_t attempt = 1;
  std::exception_ptr thrown{};   ///< null: its value is stored
  bool says_it_stopped = false;  ///< a coroutine that ended because of a stop request
};

/// Guards the records of all items of a thread pool: which attempt is under way, which was asked to
/// stop, what waits for its retry, and how items ended. The records themselves belong to the
/// submissions (`item_records`).
///
/// One lock for all submissions; no thread holds it while code of the user runs.
///
/// @threads any, all members.
class attempt_book {
 public:
  /// Submissions kept until the lock is released, as their destructors are code of the user.
  using submissions = std::vector<std::shared_ptr<thread_submission>>;

  // Requests to stop.
  /// The stop token of an attempt; if that is over, one that is never set.
  std::stop_token stop_token(thread_submission& of, std::uint32_t item, std::uint32_t attempt);
  /// Sets the stop tokens of all attempts at the submission, under way or later.
  void ask_all_to_stop(thread_submission& of);
  /// The attempt has reached its timeout: sets its stop token. False: it is over.
  bool ask_to_stop(thread_submission& of, std::uint32_t item, std::uint32_t attempt);
  /// Sets the stop tokens of those items of these submissions that lie behind their map's cut.
  void ask_what_is_cut(const submissions& running);
  /// Every attempt that begins from now on has its stop token set.
  void ask_what_comes();
  /// Notes that the submission's deadline has passed.
  void set_overdue(thread_submission& one);
  bool is_overdue(const thread_submission& one);
  /// What limits and cancels have noted of a running item.
  struct verdict {
    bool overdue = false;
    bool timed_out = false;
    bool cancelled = false;
  };
  verdict verdict_on(const thread_submission& submission, std::uint32_t item);

  // Outcomes.
  /// True: this attempt is under way, and from now on the caller alone decides the item's outcome.
  bool take_from_attempt(thread_submission& of, std::uint32_t item, std::uint32_t attempt);
  /// Notes why an item has no value.
  void note_end(thread_submission& of, item_end how);
  /// Ends the items from `first` on and those that wait for a retry, with the failure `what`.
  /// Returns how many these were, and those that were between two attempts.
  struct ended_items {
    std::uint32_t count = 0;
    std::vector<item_end> were_pending;
  };
  ended_items end_rest(thread_submission& of, std::uint32_t first,
                       const std::shared_ptr<const failure>& what);

  // Further attempts.
  /// True: the item waits for a retry from now on, and no limit of this attempt counts any more.
  bool plan_retry(thread_submission& of, const attempt_end& how,
                  const std::shared_ptr<const failure>& what);
  /// The attempt that the item waits for; none: it does not wait.
  std::optional<attempt_count> pending_attempt(const thread_submission& of, std::uint32_t item);
  /// Removes an item that waits for a retry, and returns how its last attempt ended; none: it does
  /// not wait.
  std::optional<item_end> take_pending(thread_submission& of, std::uint32_t item);
  /// The number of the attempt that begins now; none: the item does not wait for one.
  std::optional<std::uint32_t> begin_again(thread_submission& of, std::uint32_t item);
  /// How many items of the submission wait for a retry.
  std::uint32_t pending_count(const thread_submission& of);

 private:
  static attempt_count attempt_of(const thread_submission& submission, std::uint32_t item);
  static item_records::stop_entry& stop_entry_of(thread_submission& submission, std::uint32_t item);

  guarded_mutex mutex_;
  bool all_must_stop_ TROUPE_GUARDED_BY(mutex_) = false;
};

}  // namespace troupe::detail
