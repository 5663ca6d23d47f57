// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/pool_options.hpp"

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace troupe {

/// How a progress bar looks.
struct progress_bar_options {
  /// Tasks that are going to be done; 0: as many as were submitted by then.
  std::uint64_t total = 0;
  /// Stands in front of the bar.
  std::string label{};
  /// Time between two looks at the pool's counters. On a terminal the bar is drawn each time;
  /// elsewhere a plain line is written every 50 times.
  std::chrono::milliseconds interval{100};
  /// The descriptor to write to; the bar finds out whether it is a terminal.
  int descriptor = 2;
};

namespace detail {
/// The line without its end, for `width` columns: what the bar draws, and a pure function.
/// `now` counts from the beginning of the bar.
[[nodiscard]] std::string progress_line(const pool_stats& now, const progress_bar_options& how,
                                        std::chrono::duration<double> elapsed, std::size_t width);
}  // namespace detail

/// Draws the progress of a pool until the bar is destroyed: done/total, rate, time left, workers,
/// failures.
///
/// Reads only the pool's counters, from a thread of its own, so it costs the tasks nothing. What
/// the pool did before the bar was made is not shown.
///
/// The pool must outlive the bar.
///
/// @blocks no member but the destructor.
/// @threads one.
/// @crosses no.
/// @worker_dies the bar counts it, and the failure that comes of it.
class progress_bar {
 public:
  /// Draws the progress of `pool`: a pool, a thread pool, or an executor.
  ///
  /// @throws std::system_error if there can be no more threads.
  template <class Pool>
    requires requires(const Pool& pool) {
      { pool.stats() } -> std::same_as<pool_stats>;
    }
  explicit progress_bar(const Pool& pool, progress_bar_options how = {})
      : progress_bar{std::function<pool_stats()>{[&pool] { return pool.stats(); }},
                     std::move(how)} {}
  /// Draws what `look` says, which is called on the bar's thread.
  ///
  /// @throws std::system_error if there can be no more threads.
  progress_bar(std::function<pool_stats()> look, progress_bar_options how);
  /// Draws the last state and ends the line.
  ///
  /// @blocks until the bar's thread has ended, a moment.
  ~progress_bar();
  progress_bar(const progress_bar&) = delete;
  progress_bar& operator=(const progress_bar&) = delete;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace troupe
