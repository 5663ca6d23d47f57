// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/thread_submission.hpp"
#include "troupe/policy.hpp"

#include "base/thread_safety.hpp"
#include "os/library_thread.hpp"
#include "scheduling/limits.hpp"

#include <chrono>
#include <cstdint>
#include <memory>

namespace troupe::detail {

class thread_core;

/// Owns the time limits of a thread pool's tasks, and the thread that waits for them: it starts
/// before what needs it is accepted, or with the first limit, passes what is due to `task_outcomes`,
/// and ends after the last worker.
///
/// @threads any, all members.
class timekeeper {
 public:
  using task_limits = limits<thread_submission>;

  explicit timekeeper(thread_core& core) : core_{core} {}

  /// Starts the thread, so that no limit set later can fail for want of one.
  ///
  /// @throws error{resource_exhausted} if it cannot be started, as each function that sets a limit.
  void start();
  /// An attempt begins: sets its timeout, if the submission has one.
  void begin_attempt(thread_submission& of, std::uint32_t item, std::uint32_t attempt);
  void end_attempt(const thread_submission& of, std::uint32_t item, std::uint32_t attempt);
  /// Does nothing if the submission is done already.
  void set_deadline(const std::shared_ptr<thread_submission>& of, steady_time when);
  void end_deadline(const thread_submission& of);
  void give_up_after(const std::shared_ptr<thread_submission>& which,
                     std::chrono::milliseconds grace);
  void try_again_after(const std::shared_ptr<thread_submission>& which, std::uint32_t item,
                       std::chrono::milliseconds delay);
  /// Has the scheduler look for idle workers then.
  void let_idle_go_after(std::chrono::milliseconds time);
  /// The last worker has left: drops all limits and ends the thread.
  void end();

 private:
  void start_locked() TROUPE_REQUIRES(mutex_);
  /// Sets a limit and wakes the thread, which is started if need be.
  template <class Set>
  void set(const Set& how);
  void keep_time();
  /// Sleeps until a limit is due, notes the thread as a concluding one, and carries the limit out.
  /// False: `end` was called.
  bool conclude_next();

  thread_core& core_;
  wake_flag flag_;
  guarded_mutex mutex_;
  task_limits limits_ TROUPE_GUARDED_BY(mutex_);
  bool started_ TROUPE_GUARDED_BY(mutex_) = false;
  bool over_ TROUPE_GUARDED_BY(mutex_) = false;
};

}  // namespace troupe::detail
