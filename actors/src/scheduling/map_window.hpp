// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/error.hpp"
#include "troupe/policy.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace troupe::detail {

/// Decides how much of a map's input is pulled ahead of its results, and how many items go into one
/// submission.
///
/// @threads one at a time; the caller guards it.
///
/// Counts items: *in flight* are those that were submitted and whose submission was not handed out
/// to the reader of the results.
class map_window {
 public:
  struct rules {
    std::size_t chunk = 0;   ///< items the user wants together; 0: left open
    std::size_t window = 0;  ///< items that may be in flight; 0: as many as keep the workers busy
    bool streamed = false;   ///< results are wanted one by one as they come
  };
  explicit map_window(const rules& how)
      : how_{how}, submission_items_{std::max<std::size_t>(how.chunk, 1)} {}

  /// How many items the next submission is to have; 0: nothing more is to be pulled now.
  [[nodiscard]] std::size_t wanted(std::size_t tasks_at_once) const {
    const std::size_t limit = limit_for(tasks_at_once);
    if (in_flight_ >= limit) {
      return 0;
    }
    const std::size_t room = limit - in_flight_;
    // Where the user set no window, nothing is pulled before it is half empty: that makes fewer,
    // larger submissions.
    if (how_.window == 0 && in_flight_ > limit / 2 && room < submission_items_) {
      return 0;
    }
    return std::min(submission_items_, room);
  }
  /// The same for a thread that pulls all that is left, into a queue of at most `max_queued` items
  /// (0: no bound).
  [[nodiscard]] std::size_t wanted_of_rest(std::size_t max_queued) const {
    // Most items are pulled before it is known how long one runs. The first results are wanted
    // early, and a million items must not be a million submissions: so a submission has at most
    // 1/64 of what was pulled before it.
    std::size_t most = submission_items_;
    if (!slow_input_) {
      most = std::max(most, static_cast<std::size_t>(
                                std::min<std::uint64_t>(max_submission_items, pulled_ / 64)));
    }
    if (how_.chunk > 1) {
      most += (how_.chunk - most % how_.chunk) % how_.chunk;
    }
    return max_queued == 0 ? most : std::min(most, max_queued);
  }

  /// For the code that pulls a submission: it has `items` of `most` and took `taken` for them, is
  /// one more to be pulled? The workers do not wait for a slow input, but for whole chunks.
  [[nodiscard]] bool goes_on(std::size_t items, std::size_t most,
                             std::chrono::nanoseconds taken) const {
    const std::size_t chunk = std::max<std::size_t>(how_.chunk, 1);
    return items < most && (taken <= max_pull_time || items % chunk != 0);
  }
  /// Whether to read the clock for `goes_on` after so many items: not after each of very many.
  [[nodiscard]] static bool looks_at_the_clock(std::size_t items) {
    return items < 16 || items % 16 == 0;
  }
  /// Notes that a submission was pulled in that time. `mean`: how long an item runs; 0: unknown.
  void pulled(std::size_t items, std::chrono::nanoseconds taken, std::chrono::nanoseconds mean) {
    pulled_ += items;
    slow_input_ = taken > max_pull_time;
    if (how_.streamed && how_.chunk > 0) {
      return;  // results come by whole submissions, so none has more items than the user asked for
    }
    if (slow_input_) {
      submission_items_ /= 2;
    } else if (how_.streamed) {
      submission_items_ = chunk_for(mean, mean.count() > 0, submission_items_);
    } else {
      submission_items_ = std::min(max_submission_items, submission_items_ * 2);
    }
    submission_items_ = std::max({submission_items_, how_.chunk, std::size_t{1}});
  }
  void submitted(std::size_t items) { in_flight_ += items; }
  void handed_out(std::size_t items) { in_flight_ -= items; }
  /// The caller reads no result before all are there.
  void read_at_the_end() { how_.streamed = false; }

  [[nodiscard]] std::size_t submission_items() const noexcept { return submission_items_; }
  [[nodiscard]] std::uint64_t items_pulled() const noexcept { return pulled_; }
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_; }

 private:
  static constexpr std::size_t max_submission_items = 1024;
  static constexpr std::chrono::microseconds max_pull_time{200};

  [[nodiscard]] std::size_t limit_for(std::size_t tasks_at_once) const {
    if (how_.window > 0) {
      return how_.window;
    }
    return std::max({submission_items_ * (tasks_at_once + 1) * 2, how_.chunk * tasks_at_once * 2,
                     tasks_at_once * 2});
  }

  rules how_;
  std::size_t submission_items_;
  std::size_t in_flight_ = 0;
  std::uint64_t pulled_ = 0;
  bool slow_input_ = false;
};

/// Finds the failure that a map as a whole ends with: the first in input order that is not a
/// cancel, as items are cancelled because of other failures; a cancel if there is nothing else.
class first_failure {
 public:
  /// Called for each failure in input order. True: of those so far it is this one.
  bool is(errc code) noexcept {
    if (found_ && (code == errc::cancelled || is_certain())) {
      return false;
    }
    found_ = true;
    code_ = code;
    return true;
  }
  /// No later failure can take its place.
  [[nodiscard]] bool is_certain() const noexcept { return found_ && code_ != errc::cancelled; }

 private:
  bool found_ = false;
  errc code_{};
};

}  // namespace troupe::detail
