// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"

#include "pools/thread/state/attempt_book.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace troupe::detail {

class thread_core;

/// Decides whether an item gets another attempt, and brings that about: asks the user's predicate,
/// waits for the backoff, puts the item into the queue.
///
///   attempt failed ──plan──▶ asked (on a thread for that)  ──yes, backoff──▶ in the queue ──▶
///                                └──no──▶ has its outcome                     begin ──▶ attempt
///
/// Between two attempts an item has no outcome and no worker, and is noted in two places: in the
/// `attempt_book`, where the thread that takes it out decides what becomes of it, and with the
/// scheduler, which keeps the workers of a closed pool for it.
///
/// @threads any, all members.
class thread_retries {
 public:
  explicit thread_retries(thread_core& core) : core_{core} {}

  /// After a failed attempt, called by its worker. True: the item waits for a retry or runs again
  /// already, and the caller must not touch it. False: the caller gives it its outcome.
  bool plan(thread_submission& submission, const attempt_end& how,
            const std::shared_ptr<const failure>& what);
  /// Called by the worker that claimed the item: the number of the attempt that begins now; none if
  /// another thread has decided the item's outcome.
  std::optional<std::uint32_t> begin(thread_submission& submission, std::uint32_t item);
  /// Tells the scheduler that so many items of the submission are no longer between two attempts.
  void drop(thread_submission& submission, std::size_t items);
  /// How many attempts after a first one were planned.
  [[nodiscard]] std::uint64_t count() const noexcept { return retried_.load(); }

 private:
  void ask(const std::shared_ptr<thread_submission>& submission, std::uint32_t item,
           const std::shared_ptr<const failure>& what);
  void give_up(thread_submission& submission, std::uint32_t item);

  thread_core& core_;
  std::atomic<std::uint64_t> retried_{0};
};

}  // namespace troupe::detail
