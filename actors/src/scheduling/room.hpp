// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>

namespace troupe::detail {

/// Whether a submission of `items` may enter a queue of `queued` items that is to have at most
/// `max_queued` (0: no bound). One that is larger than the bound may enter an empty queue.
[[nodiscard]] constexpr bool has_room(std::uint64_t queued, std::uint64_t items,
                                      std::uint64_t max_queued) {
  return max_queued == 0 || queued == 0 || queued + items <= max_queued;
}

/// Decides which of the submitters that wait at a full queue tries next: the first that came. One
/// that was called and found no room stands in front of the others. Places belong to their
/// submitters.
///
/// @threads one at a time; the caller guards it.
///
///   out ──stand──▶ in line ──call──▶ called ──leave──▶ out
///                     └───────leave────────────────────▶
class room_line {
 public:
  /// The place of one submitter; its address does not change while it is in the line.
  class place {
   public:
    [[nodiscard]] bool is_called() const noexcept { return at_ == state::called; }

   private:
    friend class room_line;
    enum class state : std::uint8_t { out, in_line, called };
    state at_ = state::out;
    bool called_before_ = false;  ///< it was called and found no room
  };

  void stand(place& one) {
    one.at_ = place::state::in_line;
    if (one.called_before_) {
      line_.push_front(&one);
    } else {
      line_.push_back(&one);
    }
  }
  /// `got_in`: it used the room that it was called for. True: the caller calls the next one for
  /// that room.
  [[nodiscard]] bool leave(place& one, bool got_in) noexcept {
    const auto before = one.at_;
    one.at_ = place::state::out;
    if (before == place::state::in_line) {
      std::erase(line_, &one);
    }
    return before == place::state::called && !got_in;
  }
  /// Removes and returns the first, which may try now; null: the line is empty.
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
