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

/// Decides who gets the room of a full queue while a submission of many items waits for it. Beside
/// submitters of single tasks it would never find all its places free at once. So one such
/// submission at a time collects them: it and the others take places in turns, and no other
/// submission gets the places that it has.
///
/// @threads one at a time; the caller guards it.
class room_share {
 public:
  /// `max_queued`: items of the queue; 0: no bound.
  explicit room_share(std::uint64_t max_queued) noexcept : max_{max_queued} {}

  /// A submission may enter a queue of `queued` items now.
  [[nodiscard]] bool may_enter(std::uint64_t queued, std::uint64_t items) const noexcept {
    return needed_ == 0 ? has_room(queued, items, max_)
                        : others_turn_ && has_room(queued + has_, items, max_);
  }
  /// One that does not collect has entered.
  void entered() noexcept { others_turn_ = false; }

  /// A submission of many items found no room. False: another one collects.
  [[nodiscard]] bool begin(std::uint64_t items) noexcept {
    if (needed_ != 0) {
      return false;
    }
    needed_ = std::min(items, max_);
    has_ = 0;
    others_turn_ = false;
    return true;
  }
  /// Takes what is free for the one that collects. `others_wait`: a submitter of a single task waits
  /// for room. True: places were taken, so that it is the others' turn.
  bool collect(std::uint64_t queued, bool others_wait) noexcept {
    const std::uint64_t used = queued + has_;
    const std::uint64_t more = std::min(max_ - std::min(used, max_), needed_ - has_);
    if (more == 0 || (others_turn_ && others_wait)) {
      return false;
    }
    has_ += others_wait ? 1 : more;
    others_turn_ = true;
    return true;
  }
  /// The one that collects has all its places.
  [[nodiscard]] bool is_complete(std::uint64_t queued, std::uint64_t items) const noexcept {
    return has_ == needed_ && has_room(queued, items, max_);
  }
  /// It has entered, or gives up.
  void end() noexcept { needed_ = 0; }
  [[nodiscard]] bool is_collected() const noexcept { return needed_ != 0; }

 private:
  const std::uint64_t max_;
  std::uint64_t needed_ = 0;  ///< places of the submission that collects; 0: none does
  std::uint64_t has_ = 0;     ///< of these
  bool others_turn_ = false;
};

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
