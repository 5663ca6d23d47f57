// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"
#include "troupe/pool_options.hpp"

#include "pools/thread/timekeeper.hpp"
#include "pools/thread/work/attempt_book.hpp"
#include "pools/thread/work/worker_table.hpp"

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>

namespace troupe::detail {

class thread_core;

/// How tasks of a thread pool end: each item once, by the thread that comes first.
///
/// @threads any.
class task_outcomes {
 public:
  explicit task_outcomes(thread_core& core) : core_{core} {}

  /// After an attempt, on its thread: what becomes of the item, another attempt or an outcome
  /// (unless it has one).
  void conclude(worker_seat& worker, thread_submission& submission, attempt_end how);
  /// The item does not begin: its map was cut off before it.
  void end_cut(thread_submission& submission, std::uint32_t item);
  /// The last attempt of an item whose outcome the caller has claimed failed.
  void fail(thread_submission& submission, std::uint32_t item, const std::exception_ptr& thrown,
            std::shared_ptr<const failure> what);
  /// Cancels the items that no worker has claimed; how many that were.
  std::uint32_t cancel_rest(thread_submission& which, const std::string& why,
                            errc code = errc::cancelled);
  /// True: nothing of it will run. False: what runs was asked to stop.
  bool cancel(thread_submission& which, bool force);
  /// What runs of it keeps its worker, but has its outcome now.
  void give_up(thread_submission& which);
  /// A time limit is due.
  void reach(const timekeeper::task_limits::due& what);
  /// Asks what runs of a map, and is cut off, to stop.
  void stop_what_is_cut(const thread_group& map);
  void add_counts(pool_stats& to) const;

 private:
  /// "task #7 of thread pool 'name'"
  [[nodiscard]] std::string name_of(const thread_submission& submission) const;
  /// Why the limits say that an attempt failed; null: they say nothing.
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
