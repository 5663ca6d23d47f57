// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"
#include "troupe/pool_options.hpp"

#include "pools/thread/state/attempt_book.hpp"
#include "pools/thread/state/worker_table.hpp"
#include "pools/thread/timekeeper.hpp"

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>

namespace troupe::detail {

class thread_core;

/// Decides how items of a thread pool end: exactly once, by whichever thread claims the outcome
/// first (the worker, the timekeeper, or a thread that cancels). Fulfils the futures.
///
/// Owns the counts of failed and cancelled items. Takes the locks of the parts that it calls, never
/// two at once, and runs code of the user without a lock.
///
/// @threads any, all members.
class task_outcomes {
 public:
  explicit task_outcomes(thread_core& core) : core_{core} {}

  /// Called by the worker after an attempt: decides between another attempt and an outcome, unless
  /// another thread has given the item one.
  void conclude(worker_seat& worker, thread_submission& submission, attempt_end how);
  /// Cancels an item that a worker claimed and its map has cut off: it does not begin.
  void end_cut(thread_submission& submission, std::uint32_t item);
  /// Stores the failure of an item whose outcome the caller has claimed.
  void fail(thread_submission& submission, std::uint32_t item, const std::exception_ptr& thrown,
            std::shared_ptr<const failure> what);
  /// Cancels the items that no worker has claimed, and returns how many that were.
  std::uint32_t cancel_rest(thread_submission& which, const std::string& why,
                            errc code = errc::cancelled);
  /// True: no item of the submission will run. False: some run, and were asked to stop.
  bool cancel(thread_submission& which, bool force);
  /// Fails the running items of a submission now, without waiting for the workers, which run them
  /// to their ends.
  void give_up(thread_submission& which);
  /// Carries out a time limit that is due. Called by the timekeeper.
  void reach(const timekeeper::task_limits::due& what);
  /// Asks the running items behind the cut of a map to stop.
  void stop_what_is_cut(const thread_group& map);
  /// Adds the failed and cancelled items to `to`.
  void add_counts(pool_stats& to) const;

 private:
  /// The task's name in texts: "task #7 of thread pool 'name'".
  [[nodiscard]] std::string name_of(const thread_submission& submission) const;
  /// The failure that limits or a cancel gave an attempt; null: none.
  [[nodiscard]] std::shared_ptr<const failure> limit_failure(const thread_submission& submission,
                                                             const attempt_end& how,
                                                             const attempt_book::verdict& limits);
  static std::shared_ptr<const failure> plain(errc code, task_ran ran, std::string text,
                                              const thread_submission& submission,
                                              std::uint32_t attempt = 1);
  [[nodiscard]] std::shared_ptr<const failure> timed_out(const thread_submission& submission,
                                                         std::uint32_t attempt) const;
  [[nodiscard]] std::string overdue_text(const thread_submission& submission) const;
  void settle(thread_submission& submission, std::uint32_t items);

  thread_core& core_;
  alignas(64) std::atomic<std::uint64_t> failed_{0};
  std::atomic<std::uint64_t> cancelled_{0};
};

}  // namespace troupe::detail
