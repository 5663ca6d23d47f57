// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "pools/thread/state/needed_tasks.hpp"
#include "pools/thread/state/worker_table.hpp"
#include "pools/thread/thread_queue.hpp"

#include <cstdint>
#include <memory>

namespace troupe::detail {

/// Decides what becomes of tasks that threads wait for while the workers that would take them wait,
/// too: a relief runs them, a worker beyond the size of the pool; or, if there can be no further
/// one, a worker that waits. A member of the scheduler, guarded by its lock.
class thread_reliefs {
 public:
  /// A thread waits for the submission that cannot run it. False: that was noted before.
  bool need(const std::shared_ptr<thread_submission>& submission) {
    return needed_.add(submission);
  }

  enum class step : std::uint8_t {
    none,
    call,   ///< a relief that is there looks, if it is not about to anyway
    start,  ///< one is started for what is needed
    refuse  ///< something is needed that no further relief can run
  };
  struct decision {
    step what = step::none;
    worker_seat* relief = nullptr;  ///< the one to call
  };
  /// What is to be done for what is needed. The caller destroys `looked_at` without the lock.
  decision decide(const worker_table& workers, const thread_queue& queue,
                  released_submissions& looked_at);
  /// What is needed, can begin, and will be taken by no worker but `self` before one of those that
  /// wait goes on; null: nothing. `self` may be null.
  std::shared_ptr<thread_submission> find(const worker_seat* self, const worker_table& workers,
                                          const thread_queue& queue,
                                          released_submissions& looked_at);

  /// A further relief can come, as far as is known.
  [[nodiscard]] bool may_come(const worker_table& workers) const noexcept {
    return state_ == state::come && workers.reliefs() < most;
  }
  void has_come() noexcept { state_ = state::come; }
  /// The last thread could not be started; an initializer threw. True: it is the first since one
  /// has come.
  bool was_refused() noexcept { return stop_at(state::refused); }
  bool has_failed() noexcept { return stop_at(state::fail); }

 private:
  /// How many workers beyond its size a pool may have while those within it wait.
  static constexpr std::size_t most = 64;
  /// Whether there can be further ones.
  enum class state : std::uint8_t { come, refused, fail };

  bool stop_at(state now) noexcept;

  needed_tasks needed_;
  state state_ = state::come;
};

}  // namespace troupe::detail
