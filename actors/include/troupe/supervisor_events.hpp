// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"
#include "troupe/supervisor_event.hpp"

#include <memory>
#include <optional>
#include <utility>

namespace troupe {

namespace detail {
class event_stream;
}  // namespace detail

/// What happens in a tree of supervisors, event by event: what `supervisor::events` returns. It
/// keeps a bounded number; a reader that is slow loses the oldest ones, and the next event tells how
/// many. It ends with the run of the supervisor.
///
/// @threads any, all members; each event goes to one of those that read.
/// @crosses no.
class supervisor_events {
 public:
  /// Made by `supervisor::events`.
  explicit supervisor_events(std::shared_ptr<detail::event_stream> stream)
      : stream_{std::move(stream)} {}

  /// The next event.
  ///
  /// @returns nothing: the supervisor has ended, and all was read.
  /// @blocks until there is one.
  [[nodiscard]] std::optional<supervisor_event> next() { return next_until(std::nullopt); }
  /// As next, for a limited time.
  ///
  /// @returns nothing: there was none in that time, or as next.
  /// @blocks for at most `timeout`.
  template <class Rep, class Period>
  [[nodiscard]] std::optional<supervisor_event> next_for(
      std::chrono::duration<Rep, Period> timeout) {
    return next_until(detail::deadline_after(timeout));
  }
  /// As next, but never blocks.
  [[nodiscard]] std::optional<supervisor_event> try_next();
  /// The supervisor has ended, and all was read.
  [[nodiscard]] bool ended() const;

 private:
  [[nodiscard]] std::optional<supervisor_event> next_until(const detail::deadline& until);

  std::shared_ptr<detail::event_stream> stream_;
};

}  // namespace troupe
