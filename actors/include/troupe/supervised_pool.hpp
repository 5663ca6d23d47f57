// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/pool.hpp"
#include "troupe/supervisor.hpp"  // IWYU pragma: export
#include "troupe/thread_pool.hpp"

#include <utility>
#include <vector>

namespace troupe {

/// A pool that a supervisor started: what `supervisor::pool` returns. Everything is submitted as to
/// a `pool`; its life is the supervisor's.
///
/// It is the pool of one incarnation. When the child has been started again, submissions throw
/// pool_closed or pool_broken: ask the supervisor again.
///
/// @threads any, all members.
/// @crosses no.
/// @worker_dies as with pool.
class supervised_pool : public detail::submissions<supervised_pool> {
 public:
  /// The same pool, with these options for what is submitted through the result.
  ///
  /// @throws std::invalid_argument for options out of range.
  [[nodiscard]] supervised_pool with(const task_options& options) const {
    return {core_, detail::share_options(options)};
  }
  /// As pool::resize.
  ///
  /// @throws as pool::resize.
  void resize(int workers) { detail::resize(core_, workers); }
  /// As pool::workers.
  ///
  /// @blocks for a moment, until the pool's supervisor has looked.
  [[nodiscard]] std::vector<worker_info> workers() const { return detail::workers_of(core_); }
  /// As pool::stats.
  [[nodiscard]] pool_stats stats() const { return detail::stats_of(core_); }

 private:
  friend struct detail::supervisor_access;
  friend class detail::submissions<supervised_pool>;
  friend class detail::map_calls<supervised_pool, detail::process_maps>;
  supervised_pool(detail::engine_ptr core, detail::options_ptr options)
      : core_{std::move(core)}, options_{std::move(options)} {}
  [[nodiscard]] const detail::options_ptr& current_options() const { return options_; }

  detail::engine_ptr core_;
  detail::options_ptr options_;
};

/// A thread pool that a supervisor started: what `supervisor::thread_pool` returns. As
/// supervised_pool.
///
/// @threads any, all members.
/// @crosses no.
/// @worker_dies as with thread_pool.
class supervised_thread_pool : public detail::local_submissions<supervised_thread_pool> {
 public:
  /// The same pool, with these options for what is submitted through the result.
  ///
  /// @throws std::invalid_argument for options out of range.
  [[nodiscard]] supervised_thread_pool with(const task_options& options) const {
    return {core_, detail::share_options(options)};
  }
  /// As thread_pool::resize.
  ///
  /// @throws as thread_pool::resize.
  void resize(int workers) { detail::resize(core_, workers); }
  /// As thread_pool::workers.
  [[nodiscard]] std::vector<worker_info> workers() const { return detail::workers_of(core_); }
  /// As thread_pool::stats.
  [[nodiscard]] pool_stats stats() const { return detail::stats_of(core_); }

 private:
  friend struct detail::supervisor_access;
  friend class detail::local_submissions<supervised_thread_pool>;
  friend class detail::map_calls<supervised_thread_pool, detail::thread_maps>;
  supervised_thread_pool(detail::engine_ptr core, detail::options_ptr options)
      : core_{std::move(core)}, options_{std::move(options)} {}
  [[nodiscard]] const detail::options_ptr& current_options() const { return options_; }

  detail::engine_ptr core_;
  detail::options_ptr options_;
};

}  // namespace troupe
