// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/pool_options.hpp"

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace troupe {

struct progress_bar_options {
  /// Tasks that are going to be done; 0: as many as were submitted by then.
  std::uint64_t total = 0;
  /// In front.
  std::string label{};
  /// Between two looks: on a terminal. Elsewhere a plain line is written every 50 of them.
  std::chrono::milliseconds interval{100};
  /// Where it goes; a terminal or not is found out there.
  int descriptor = 2;
};

namespace detail {
/// The line without its end, for `width` columns: what the bar draws, and a pure function.
/// `now` counts from the beginning of the bar.
[[nodiscard]] std::string progress_line(const pool_stats& now, const progress_bar_options& how,
                                        std::chrono::duration<double> elapsed, std::size_t width);
}  // namespace detail

/// Draws how far a pool is until it is destroyed: done/total, rate, time left, workers, failures.
///
/// Reads only the pool's counters, from a thread of its own, so it costs the tasks nothing. What
/// the pool did before the bar was made is not shown.
///
/// @threads one. The pool must outlive it.
/// @crosses no.
class progress_bar {
 public:
  /// `pool`: a pool, a thread pool, or an executor.
  template <class Pool>
    requires requires(const Pool& pool) {
      { pool.stats() } -> std::same_as<pool_stats>;
    }
  explicit progress_bar(const Pool& pool, progress_bar_options how = {})
      : progress_bar{std::function<pool_stats()>{[&pool] { return pool.stats(); }},
                     std::move(how)} {}
  progress_bar(std::function<pool_stats()> look, progress_bar_options how);
  /// Draws the last state and ends the line.
  ~progress_bar();
  progress_bar(const progress_bar&) = delete;
  progress_bar& operator=(const progress_bar&) = delete;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace troupe
