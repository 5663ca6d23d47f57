// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/thread/state/task_lanes.hpp"

#include <cstddef>
#include <functional>
#include <list>
#include <memory>

namespace troupe::detail {

/// What threads wait for that cannot run it themselves: tasks of their pool that another worker may
/// have to run while all that would take them wait. Some of it may have begun meanwhile. A member
/// of the scheduler, guarded by its lock.
class needed_tasks {
 public:
  using condition = std::function<bool(const thread_submission&)>;

  /// False: it was noted before.
  bool add(const std::shared_ptr<thread_submission>& submission);
  [[nodiscard]] bool empty() const noexcept { return unbound_.empty() && bound_.empty(); }
  /// The first of them for which the condition holds: `unbound` for what any worker may run,
  /// `bound` for what has an affinity key. What no worker can begin any more is forgotten. The
  /// caller destroys `looked_at` without the lock.
  ///
  /// @param unbound  of what has items that no worker has claimed, it holds for all or for none: of
  ///   many that wait for the same workers one is asked.
  std::shared_ptr<thread_submission> find(const condition& unbound, const condition& bound,
                                          released_submissions& looked_at);

 private:
  // Without shares in them: one that has its outcome goes as soon as its futures have gone.
  using notes = std::list<std::weak_ptr<thread_submission>>;

  /// `alike`: what is not true of one with unclaimed items is not true of any such one.
  static std::shared_ptr<thread_submission> find_in(notes& all, bool alike, const condition& which,
                                                    released_submissions& looked_at);
  void forget_what_is_gone();

  notes unbound_;
  notes bound_;
  std::size_t forget_at_ = 16;
};

}  // namespace troupe::detail
