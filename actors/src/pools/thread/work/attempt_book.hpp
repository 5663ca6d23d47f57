// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"

#include "base/thread_safety.hpp"
#include "pools/thread/work/item_records.hpp"

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
  bool says_it_stopped = false;  ///< a coroutine that ended because it was asked to
};

/// The records of the items of a thread pool's tasks: which attempt is under way, which is asked
/// to stop, what waits for its retry, and how items ended. One lock for all, which no thread holds
/// while code of the user runs.
///
/// @threads any.
class attempt_book {
 public:
  /// Submissions that are held until the lock is free: their destructors are the user's.
  using submissions = std::vector<std::shared_ptr<thread_submission>>;

  // Requests to stop.
  /// Of an attempt that is over: one that is never set.
  std::stop_token stop_token(thread_submission& of, std::uint32_t item, std::uint32_t attempt);
  void ask_all_to_stop(thread_submission& of);
  /// The attempt has reached its limit. False: it is over.
  bool ask_to_stop(thread_submission& of, std::uint32_t item, std::uint32_t attempt);
  /// Those items of these submissions that their map has cut off.
  void ask_what_is_cut(const submissions& running);
  /// What begins from now on is asked at once.
  void ask_what_comes();
  void set_overdue(thread_submission& one);
  bool is_overdue(const thread_submission& one);
  /// What limits and cancellation say of an item that runs.
  struct verdict {
    bool overdue = false;
    bool timed_out = false;
    bool cancelled = false;
  };
  verdict verdict_on(const thread_submission& submission, std::uint32_t item);

  // Outcomes.
  /// True: this attempt of the item is under way, and the caller now decides the outcome.
  bool take_from_attempt(thread_submission& of, std::uint32_t item, std::uint32_t attempt);
  void note_end(thread_submission& of, item_end how);
  /// Ends those from `first` on, and what waits for a retry. How many that were, and the items that
  /// were between two attempts.
  struct ended_items {
    std::uint32_t count = 0;
    std::vector<item_end> were_pending;
  };
  ended_items end_rest(thread_submission& of, std::uint32_t first,
                       const std::shared_ptr<const failure>& what);

  // Further attempts.
  /// True: the item waits for a retry now, and no limit of this attempt counts any more.
  bool plan_retry(thread_submission& of, const attempt_end& how,
                  const std::shared_ptr<const failure>& what);
  /// The attempt that the item waits for; none: it waits no more.
  std::optional<attempt_count> pending_attempt(const thread_submission& of, std::uint32_t item);
  /// Nothing waits any more for this item; how its last attempt ended, if something did.
  std::optional<item_end> take_pending(thread_submission& of, std::uint32_t item);
  /// The number of the attempt that begins now; none: the item waits no more.
  std::optional<std::uint32_t> begin_again(thread_submission& of, std::uint32_t item);
  std::uint32_t pending_count(const thread_submission& of);

 private:
  static attempt_count attempt_of(const thread_submission& submission, std::uint32_t item);
  static item_records::stop_entry& stop_entry_of(thread_submission& submission, std::uint32_t item);

  guarded_mutex mutex_;
  bool all_must_stop_ TROUPE_GUARDED_BY(mutex_) = false;
};

}  // namespace troupe::detail
