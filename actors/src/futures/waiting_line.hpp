// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/submission.hpp"

#include "base/thread_safety.hpp"
#include "scheduling/room.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace troupe::detail {

/// The submissions that wait for room in a full queue without a thread.
///
/// @threads any, all members. Nothing is locked while one of them is notified.
class waiting_line {
 public:
  waiting_line() = default;
  waiting_line(const waiting_line&) = delete;
  waiting_line& operator=(const waiting_line&) = delete;

  void stand(room_turn& turn, std::function<void()> notify);
  /// `got_in`: it used the room that it was called for; otherwise the next one is called.
  void leave(room_turn& turn, bool got_in) noexcept;
  /// So many may try now.
  void call_next(std::uint64_t turns) noexcept;
  [[nodiscard]] bool empty() const noexcept { return standing_.load() == 0; }

 private:
  guarded_mutex mutex_;
  room_line line_ TROUPE_GUARDED_BY(mutex_);
  std::atomic<std::uint64_t> standing_{0};  // its length
};

class room_turn : private room_line::place {
 public:
  using executor = std::function<void(std::function<void()>)>;

  /// `owner` keeps the line, and what the functions speak of.
  room_turn(std::shared_ptr<void> owner, waiting_line& line, std::function<bool()> worth_trying,
            executor callbacks)
      : owner_{std::move(owner)},
        line_{line},
        worth_trying_{std::move(worth_trying)},
        callbacks_{std::move(callbacks)} {}
  room_turn(const room_turn&) = delete;
  room_turn& operator=(const room_turn&) = delete;
  ~room_turn() { line_.leave(*this, false); }

 private:
  friend class waiting_line;
  friend void wait_turn_on_callbacks(const std::shared_ptr<room_turn>&, std::function<void()>);
  friend void wait_turn(const std::shared_ptr<room_turn>&, std::function<void()>);
  friend void took_turn(room_turn&) noexcept;
  friend void leave_turn(room_turn&) noexcept;
  std::shared_ptr<void> owner_;
  waiting_line& line_;
  std::function<bool()> worth_trying_;
  executor callbacks_;
  /// Guarded by the line's mutex, as the place is. No annotation: the analysis does not see that
  /// `line_` is the line that locks it.
  std::function<void()> notify_;
};

}  // namespace troupe::detail
