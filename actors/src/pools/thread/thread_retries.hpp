// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"

#include "pools/thread/work/attempt_book.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace troupe::detail {

class thread_core;

/// Attempts after the first.
///
///   attempt failed ──plan──▶ asked (on the callbacks' thread) ──yes, backoff──▶ in the queue ──▶
///                                └──no──▶ has its outcome                     begin ──▶ attempt
///
/// Between two attempts an item has no outcome and no worker. It is in two places then: in the
/// `attempt_book`, where the thread that takes it out may say what becomes of it, and with the
/// scheduler, which keeps the workers of a closed pool for it.
class thread_retries {
 public:
  explicit thread_retries(thread_core& core) : core_{core} {}

  /// True: the item waits for a retry, or runs again already, and is no longer the caller's.
  bool plan(thread_submission& submission, const attempt_end& how,
            const std::shared_ptr<const failure>& what);
  /// The attempt that now begins; none if the item's end was decided meanwhile.
  std::optional<std::uint32_t> begin(thread_submission& submission, std::uint32_t item);
  /// So many items of the submission are no longer between two attempts.
  void drop(thread_submission& submission, std::size_t items);
  [[nodiscard]] std::uint64_t count() const noexcept { return retried_.load(); }

 private:
  void ask(const std::shared_ptr<thread_submission>& submission, std::uint32_t item,
           const std::shared_ptr<const failure>& what);
  void give_up(thread_submission& submission, std::uint32_t item);

  thread_core& core_;
  std::atomic<std::uint64_t> retried_{0};
};

}  // namespace troupe::detail
