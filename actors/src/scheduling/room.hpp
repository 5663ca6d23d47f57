// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>

namespace troupe::detail {

/// May `items` more go into a queue of `queued` items that is to have at most `max_queued` (0: no
/// bound)? A submission that is larger than the bound may when the queue is empty.
[[nodiscard]] constexpr bool has_room(std::uint64_t queued, std::uint64_t items,
                                      std::uint64_t max_queued) {
  return max_queued == 0 || queued == 0 || queued + items <= max_queued;
}

/// Who submits next to a full queue: first come, first served. The one that was called and found no
/// room after all stands in front of the others.
///
///   out ──stand──▶ in line ──call──▶ called ──leave──▶ out
///                     └───────leave────────────────────▶
class room_line {
 public:
  /// A place in the line; it stays where it is while it is in the line.
  class place {
   public:
    [[nodiscard]] bool is_called() const noexcept { return at_ == state::called; }

   private:
    friend class room_line;
    enum class state : std::uint8_t { out, in_line, called };
    state at_ = state::out;
    bool called_before_ = false;  ///< in vain
  };

  void stand(place& one) {
    one.at_ = place::state::in_line;
    if (one.called_before_) {
      line_.push_front(&one);
    } else {
      line_.push_back(&one);
    }
  }
  /// `got_in`: it used the room that it was called for. True: the next one is to be called instead.
  [[nodiscard]] bool leave(place& one, bool got_in) noexcept {
    const auto before = one.at_;
    one.at_ = place::state::out;
    if (before == place::state::in_line) {
      std::erase(line_, &one);
    }
    return before == place::state::called && !got_in;
  }
  /// The next one, which may try now; null: the line is empty.
  place* call() noexcept {
    if (line_.empty()) {
      return nullptr;
    }
    place* const next = line_.front();
    line_.pop_front();
    next->at_ = place::state::called;
    next->called_before_ = true;
    return next;
  }
  [[nodiscard]] std::size_t size() const noexcept { return line_.size(); }

 private:
  std::deque<place*> line_;
};

}  // namespace troupe::detail
