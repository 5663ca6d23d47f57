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

/// The time limits of a thread pool's tasks, and the thread that waits for them: started with the
/// first limit, gone after the last worker. What is due goes to `task_outcomes`.
///
/// @threads any.
class timekeeper {
 public:
  using task_limits = limits<thread_submission>;

  explicit timekeeper(thread_core& core) : core_{core} {}

  /// @throws std::system_error where no thread can be started, as all that set a limit.
  void begin_attempt(thread_submission& of, std::uint32_t item, std::uint32_t attempt);
  void end_attempt(const thread_submission& of, std::uint32_t item, std::uint32_t attempt);
  /// Nothing happens if the submission is done already.
  void set_deadline(const std::shared_ptr<thread_submission>& of, steady_time when);
  void end_deadline(const thread_submission& of);
  void give_up_after(const std::shared_ptr<thread_submission>& which,
                     std::chrono::milliseconds grace);
  void try_again_after(const std::shared_ptr<thread_submission>& which, std::uint32_t item,
                       std::chrono::milliseconds delay);
  void let_idle_go_after(std::chrono::milliseconds time);
  /// Nothing runs any more, so no limit matters.
  void end();

 private:
  /// Sets a limit, and sees to it that the thread looks.
  template <class Set>
  void set(const Set& how);
  void keep_time();
  /// What is due, and the thread noted as concluding; sleeps until there is something. False: it is
  /// over.
  bool conclude_next();

  thread_core& core_;
  wake_flag flag_;
  guarded_mutex mutex_;
  task_limits limits_ TROUPE_GUARDED_BY(mutex_);
  bool started_ TROUPE_GUARDED_BY(mutex_) = false;
  bool over_ TROUPE_GUARDED_BY(mutex_) = false;
};

}  // namespace troupe::detail
