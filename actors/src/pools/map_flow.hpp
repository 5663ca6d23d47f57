// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/map_errors.hpp"
#include "pools/pull_turn.hpp"
#include "scheduling/map_window.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace troupe::detail {

/// One running map, for every kind of pool: pulls the input through a window, submits what was
/// pulled, and gives the submissions to the reader of the results, in input order or as they end.
/// `map_window` decides how much is pulled; `Kind` knows how a kind of pool does it:
///
///   struct Kind {
///     using submission = ...;  using input = ...;
///     using batch = ...;                       // items that were pulled and not submitted
///     batch open(input&, std::size_t most);
///     bool pull(input&, batch&);               // false: the input is used up
///     bool fits(const batch&) const;           // one more item may go into it
///     std::size_t items(const batch&) const;   // in it
///     void seal(input&, batch&, std::uint64_t first);  // it is full; `first`: position in the map
///     std::shared_ptr<submission> submit(batch&, const deadline&);  // null: there was no room
///     std::chrono::nanoseconds mean_item_time();                    // 0: not measured
///     std::size_t tasks_at_once();  std::size_t max_queued();
///     std::size_t count(const submission&) const;
///     bool was_cut();                // nothing more of the map is to begin
///     // For results as they end: the next submission that has; null: the deadline passed first.
///     // `all` returns those that were not handed out.
///     const submission* wait_any(all, const deadline&);
///     bool is_over(bool read_to_end);              // no item of the map runs any more
///     void give_up(const submissions&);   // ends what is not over; may be called twice
///     void cancel_rest(const submissions&);  // after give_up: what was submitted during it
///   };
///
/// Owns the submissions that were not handed out.
///
/// @threads `next` and what it returns: the reader's, one at a time. Pulling: one thread at a time,
/// by `pull_turn`.
template <class Kind>
class map_flow {
 public:
  using submission = typename Kind::submission;
  using input = typename Kind::input;
  using submissions = std::deque<std::shared_ptr<submission>>;

  struct rules {
    map_window::rules window;
    bool ordered = true;
    bool all_or_nothing = true;
    bool run_unread = false;
    deadline until{};
  };

  map_flow(Kind how, const rules& r) : kind{std::move(how)}, rules_{r}, window_{r.window} {}

  /// Pulls the first window of the input.
  void prefetch(input& from) {
    const std::lock_guard lock{turn_};
    fill(from);
  }

  /// Pulls and submits all that is left, in turns with the reader.
  void pull_rest(input& from, const deadline& until, bool patient) noexcept {
    if (turn_.is_mine()) {
      return;  // the input itself asks for it
    }
    for (;;) {
      {
        std::unique_lock lock{turn_, std::defer_lock};
        if (patient) {
          lock.lock();
        } else if (!lock.try_lock()) {
          return;
        }
        try {
          if (!pull_more(from, until)) {
            return;
          }
        } catch (...) {
          stop(std::current_exception());
          return;
        }
      }
      turn_.let_others();
    }
  }

  void throw_if_refused() {
    const std::lock_guard lock{turn_};
    if (end_.refused && waiting_.empty()) {
      std::rethrow_exception(end_.why);
    }
  }

  /// The next item's outcome is there, and `current` and `position` say where. False: there are no
  /// more.
  bool next(input& from) {
    if (turn_.is_mine()) {
      throw_input_reads_map();
    }
    begun_ = true;
    if (!current_ || next_item_ >= kind.count(*current_)) {
      if (!next_submission(from)) {
        read_to_end_ = true;
        return false;
      }
    }
    if (!current_->wait(rules_.until)) {
      ++next_item_;  // it throws at the position of each result that is not there
      give_up();
    }
    if (next_item_++ == 0 && rules_.all_or_nothing) {
      // The first one in input order: a failure cuts off only what comes after it.
      current_->rethrow_failure();
    }
    return true;
  }
  [[nodiscard]] submission& current() const noexcept { return *current_; }
  [[nodiscard]] std::uint32_t position() const noexcept { return next_item_ - 1; }

  /// The reader goes. What the reader has not begun to read of a map that runs unread goes on,
  /// unless an exception leaves the frame that the function may refer to. True: the map is given
  /// up, and something of it may run.
  bool abandon() noexcept {
    const bool ends =
        (begun_ || std::uncaught_exceptions() > exceptions_before_) && !kind.is_over(read_to_end_);
    if (ends) {
      given_up_ = true;  // so that another thread that is pulling stops
      kind.give_up(snapshot());
    }
    const submissions dropped = end_pulling();
    if (ends) {
      kind.cancel_rest(dropped);
    }
    current_.reset();
    return ends && submitted_;
  }

  /// Before `abandon`: pulls the rest of what was never read and is to run all the same.
  void pull_unread(input& from) noexcept {
    if (!rules_.run_unread || begun_) {
      return;
    }
    if (std::uncaught_exceptions() <= exceptions_before_) {
      pull_rest(from, std::nullopt, true);
    }
    std::exception_ptr why;
    if (!turn_.is_mine()) {
      const std::lock_guard lock{turn_};
      why = end_.why;
    }
    log_unread(why);
  }

  /// Pulls the whole input now, and submits it.
  ///
  /// @throws what pulling or submitting threw; the rest of the input is not pulled then.
  template <class Submitted>
  void pull_all(input& from, const Submitted& submitted) {
    window_.read_at_the_end();
    while (!end_.reached) {
      if (!pull(from, window_.submission_items())) {
        break;
      }
      submitted(*std::exchange(unsent_, std::nullopt));
    }
    if (end_.why) {
      std::rethrow_exception(std::exchange(end_.why, nullptr));
    }
  }

  Kind kind;

 private:
  enum class step : std::uint8_t { sent, no_room, over };
  using batch = typename Kind::batch;

  /// No more is to be pulled.
  [[nodiscard]] bool at_end() {
    return (end_.reached && !unsent_) || kind.was_cut() ||
           given_up_.load(std::memory_order_relaxed);
  }
  /// Nothing comes behind the results of what was submitted, but for this exception.
  void stop(std::exception_ptr why) noexcept {
    end_.reached = true;
    end_.why = std::move(why);
  }

  /// Pulls up to `most` items, to be submitted next. False: the input is used up.
  bool pull(input& from, std::size_t most) {
    const auto begun = std::chrono::steady_clock::now();
    const auto taken = [&begun] { return std::chrono::steady_clock::now() - begun; };
    batch pulled = kind.open(from, most);
    try {
      for (bool more = true; more;) {
        if (!kind.pull(from, pulled)) {
          end_.reached = true;
          break;
        }
        const std::size_t items = kind.items(pulled);
        more = items < most && kind.fits(pulled) &&
               (!map_window::looks_at_the_clock(items) || window_.goes_on(items, most, taken()));
      }
    } catch (...) {
      // What came before is computed and handed out; then this comes.
      stop(std::current_exception());
    }
    const std::size_t items = kind.items(pulled);
    const std::uint64_t first = window_.items_pulled();
    window_.pulled(items, taken(), kind.mean_item_time());
    if (items == 0) {
      return false;
    }
    kind.seal(from, pulled, first);
    unsent_.emplace(std::move(pulled));
    return true;
  }

  /// Pulls and submits the next submission; waits for room until then.
  step submit_next(input& from, std::size_t most, const deadline& until) {
    if (!unsent_ && !pull(from, most)) {
      return step::over;
    }
    const std::size_t items = kind.items(*unsent_);
    try {
      auto sent = kind.submit(*unsent_, until);
      if (!sent) {
        return step::no_room;  // and nothing was moved
      }
      submitted_ = true;
      unsent_.reset();
      waiting_.push_back(std::move(sent));
    } catch (...) {
      // What was submitted before is computed and handed out; then this comes.
      unsent_.reset();
      end_.refused = true;
      stop(std::current_exception());
      return step::over;
    }
    window_.submitted(items);
    return step::sent;
  }

  void fill(input& from) {
    while (!at_end()) {
      const std::size_t most = window_.wanted(kind.tasks_at_once());
      if (most == 0 || submit_next(from, most, std::nullopt) != step::sent) {
        return;
      }
    }
  }

  /// One turn of pulling the rest. False: there is no more, or the time is over.
  bool pull_more(input& from, const deadline& until) {
    if (at_end()) {
      return false;
    }
    if (until && *until <= std::chrono::steady_clock::now()) {
      unsent_.reset();
      stop(not_submitted_in_time());
      return false;
    }
    return submit_next(from, window_.wanted_of_rest(kind.max_queued()), end_of_turn(until)) !=
           step::over;
  }

  /// Makes the next submission current. False: there is none.
  bool next_submission(input& from) {
    const std::size_t handed_out = current_ ? kind.count(*current_) : 0;
    current_.reset();
    next_item_ = 0;
    std::unique_lock lock{turn_};
    window_.handed_out(handed_out);
    fill(from);
    if (waiting_.empty()) {
      if (end_.why && !given_up_) {
        std::rethrow_exception(std::exchange(end_.why, nullptr));
      }
      return false;
    }
    auto found = waiting_.begin();
    if (!rules_.ordered) {
      lock.unlock();
      const auto all = [this] {
        const std::lock_guard turn{turn_};
        return waiting_;
      };
      const submission* const first = kind.wait_any(all, rules_.until);
      if (first == nullptr) {
        give_up();
      }
      lock.lock();
      found = std::find_if(waiting_.begin(), waiting_.end(),
                           [first](const auto& one) { return one.get() == first; });
    }
    current_ = std::move(*found);
    waiting_.erase(found);
    return true;
  }

  [[noreturn]] void give_up() {
    if (!given_up_.exchange(true)) {
      kind.give_up(snapshot());
      if (std::unique_lock lock{turn_, std::defer_lock}; !rules_.ordered && lock.try_lock()) {
        waiting_.clear();
      }
    }
    throw_result_late();
  }

  /// What is to be read still. Without what another thread is submitting just now: it finds that
  /// the map was cut.
  submissions snapshot() noexcept {
    submissions all;
    if (std::unique_lock lock{turn_, std::defer_lock}; !turn_.is_mine() && lock.try_lock()) {
      all = waiting_;
    }
    if (current_) {
      all.push_front(current_);
    }
    return all;
  }
  submissions end_pulling() noexcept {
    std::unique_lock lock{turn_, std::defer_lock};
    if (!turn_.is_mine()) {
      lock.lock();
    }
    stop(nullptr);
    unsent_.reset();
    return std::exchange(waiting_, {});
  }

  const rules rules_;
  const int exceptions_before_ = std::uncaught_exceptions();

  // For the thread that has the turn. No annotations: an input may come back to the map on the
  // thread that has it already, which is known at run time only.
  pull_turn turn_;
  map_window window_;
  submissions waiting_;          // in input order
  std::optional<batch> unsent_;  // pulled, and there was no room for it yet
  struct {
    bool reached = false;    ///< nothing more is pulled
    bool refused = false;    ///< because a submission was
    std::exception_ptr why;  ///< comes behind the results of what was submitted
  } end_;
  bool submitted_ = false;

  // The reader's.
  std::shared_ptr<submission> current_;
  std::uint32_t next_item_ = 0;
  bool begun_ = false;
  bool read_to_end_ = false;

  std::atomic<bool> given_up_{false};  ///< by its reader, or a result was not there in time
};

}  // namespace troupe::detail
