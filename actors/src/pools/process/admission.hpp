// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"

#include "base/thread_safety.hpp"
#include "futures/waiting_line.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace troupe::detail {

/// Which submissions get into a pool: none any more once it says why, and no more than its queue is
/// to have.
///
/// @threads any.
class admission {
 public:
  /// `max_queued`: items; 0: no bound.
  explicit admission(std::size_t max_queued) : max_queued_{max_queued} {}

  /// What a submission throws from now on.
  void refuse_because(errc code, std::string text);
  [[nodiscard]] bool refuses() const noexcept { return refuses_; }
  /// @throws pool_closed or pool_broken, if it was said.
  void check();

  /// So many items go into the queue. False: it is full, and the caller may not block, or it was
  /// full until then.
  ///
  /// @blocks while it is full, if that is allowed.
  /// @throws what `check` throws.
  bool enter(std::uint32_t items, bool may_block, const deadline& until);
  /// Items have left the queue.
  void leave(std::uint64_t items);
  /// They are back, or came in another way, however full it is.
  void enter_anyway(std::uint64_t items);

  /// Who waits for room without a thread.
  [[nodiscard]] waiting_line& line() noexcept { return line_; }
  /// It is worth trying.
  [[nodiscard]] bool has_room() const noexcept { return queued_.load() < max_queued_ || refuses_; }

 private:
  const std::size_t max_queued_;
  std::atomic<bool> refuses_{false};
  guarded_mutex mutex_;
  errc refusal_ TROUPE_GUARDED_BY(mutex_) = errc::ok;
  std::string refusal_text_ TROUPE_GUARDED_BY(mutex_);
  std::atomic<std::uint64_t> queued_{0};
  std::atomic<std::uint32_t> moved_{0};
  std::atomic<std::uint32_t> blocked_{0};
  // One is called for each task that left the queue; one that does not use the call passes it on.
  waiting_line line_;
};

}  // namespace troupe::detail
