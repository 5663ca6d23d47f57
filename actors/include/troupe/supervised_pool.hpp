// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/pool.hpp"
#include "troupe/supervisor.hpp"  // IWYU pragma: export
#include "troupe/thread_pool.hpp"

#include <utility>
#include <vector>

namespace troupe {

namespace detail {

/// What both kinds of pools of a supervisor have in common. `Submissions<Self>`: the ways to submit;
/// `Maps`: those of its maps.
template <class Self, template <class> class Submissions, class Maps>
class pool_of_supervisor : public Submissions<Self> {
 public:
  /// The same pool, with these options for what is submitted through the result.
  ///
  /// @throws std::invalid_argument for options out of range.
  [[nodiscard]] Self with(const task_options& options) const {
    return Self{core_, share_options(options)};
  }
  /// As of the pool's own handle.
  ///
  /// @throws as there.
  void resize(int workers) { detail::resize(core_, workers); }
  /// As of the pool's own handle.
  ///
  /// @blocks for a moment, until the pool's supervisor has looked.
  [[nodiscard]] std::vector<worker_info> workers() const { return workers_of(core_); }
  /// As of the pool's own handle.
  [[nodiscard]] pool_stats stats() const { return stats_of(core_); }

 protected:
  pool_of_supervisor(engine_ptr core, options_ptr options)
      : core_{std::move(core)}, options_{std::move(options)} {}

 private:
  friend Submissions<Self>;
  friend map_calls<Self, Maps>;
  [[nodiscard]] const options_ptr& current_options() const { return options_; }

  engine_ptr core_;
  options_ptr options_;
};

}  // namespace detail

/// A pool that a supervisor started: what `supervisor::pool` returns. Everything is submitted as to
/// a `pool`; its life is the supervisor's.
///
/// It is the pool of one incarnation. When the child has been started again, submissions throw
/// pool_closed or pool_broken: ask the supervisor again.
///
/// @threads any, all members.
/// @crosses no.
/// @worker_dies as with pool.
class supervised_pool : public detail::pool_of_supervisor<supervised_pool, detail::submissions,
                                                          detail::process_maps> {
 private:
  friend struct detail::supervisor_access;
  friend detail::pool_of_supervisor<supervised_pool, detail::submissions, detail::process_maps>;
  supervised_pool(detail::engine_ptr core, detail::options_ptr options)
      : pool_of_supervisor{std::move(core), std::move(options)} {}
};

/// A thread pool that a supervisor started: what `supervisor::thread_pool` returns. As
/// supervised_pool.
///
/// @threads any, all members.
/// @crosses no.
/// @worker_dies as with thread_pool.
class supervised_thread_pool
    : public detail::pool_of_supervisor<supervised_thread_pool, detail::local_submissions,
                                        detail::thread_maps> {
 private:
  friend struct detail::supervisor_access;
  friend detail::pool_of_supervisor<supervised_thread_pool, detail::local_submissions,
                                    detail::thread_maps>;
  supervised_thread_pool(detail::engine_ptr core, detail::options_ptr options)
      : pool_of_supervisor{std::move(core), std::move(options)} {}
};

}  // namespace troupe
