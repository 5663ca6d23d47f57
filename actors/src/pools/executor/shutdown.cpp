// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/shutdown.hpp"

#include "troupe/executor.hpp"
#include "troupe/log.hpp"

#include "base/thread_safety.hpp"
#include "futures/made_here.hpp"
#include "pools/engine.hpp"

#include <chrono>
#include <exception>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace troupe::detail {
struct executor_end::state {
  delete_where_made maker;
  engine_ptr pool;
  std::shared_ptr<open_maps> open = std::make_shared<open_maps>();
  int exceptions_before = std::uncaught_exceptions();
  guarded_mutex mutex;
  std::jthread escalating TROUPE_GUARDED_BY(mutex);  // of a shutdown that did not wait

  /// Ends all there is by all means; what it had to do is added to the report.
  void escalate(const deadline& until, shutdown_report& into) {
    if (pool->join_until(until)) {
      into.complete = true;
      return;
    }
    pool->cancel_waiting();
    pool->ask_all_to_stop();
    if (pool->join_until(deadline_after(pool->grace()))) {
      into.complete = true;
      return;
    }
    into.terminated_workers = pool->processes();
    pool->terminate();
    // A process ends by SIGKILL after the grace time, whatever it does; a thread may not, and then
    // what it runs is given up.
    into.complete =
        pool->join_until(into.terminated_workers > 0 ? deadline{} : deadline_after(pool->grace()));
    if (!into.complete) {
      pool->kill();
    }
  }
};

executor_end::executor_end(engine_ptr pool) : state_{std::make_unique<state>()} {
  state_->pool = std::move(pool);
}
executor_end::~executor_end() {
  if (state_ && !state_->maker.is_here()) {
    keep_for_ever(std::move(state_));  // its thread is not there to be waited for
  }
}
executor_end::executor_end(executor_end&&) noexcept = default;

executor_end::state& executor_end::checked_not_moved_from() const {
  if (!state_) {
    throw error{errc::no_state, task_ran::no, "troupe: this executor was moved from"};
  }
  return *state_;
}

executor_end::state& executor_end::checked() const {
  state& own = checked_not_moved_from();
  own.maker.check_is_here();
  return own;
}

shutdown_report executor_end::shutdown(const shutdown_options& how) {
  state& own = checked();
  engine& pool = *own.pool;
  if (how.deadline && how.deadline->count() < 0) {
    throw std::invalid_argument{"troupe: shutdown options: .deadline = " +
                                std::to_string(how.deadline->count()) + " ms is negative"};
  }
  if (how.wait && pool.in_own_task()) {
    throw error{errc::would_deadlock, task_ran::no,
                "shutdown() in a task of the executor that is shut down would wait for that task "
                "for ever: use {.wait = false}"};
  }
  const pool_stats before = pool.stats();
  const deadline until = how.deadline ? deadline_after(*how.deadline) : deadline{};
  shutdown_report report;
  if (how.cancel_pending) {
    own.open->drop_all();
  } else {
    // In a task of its own the worker may be needed by who is pulling just now.
    own.open->pull_all(until, !pool.in_own_task());
  }
  pool.close();
  if (how.cancel_pending) {
    pool.cancel_waiting();
  }
  if (how.wait && until) {
    own.escalate(until, report);
  } else if (how.wait) {
    report.complete = pool.join_until(std::nullopt);
  } else if (until) {
    const mutex_guard lock{own.mutex};
    if (!own.escalating.joinable()) {
      try {
        own.escalating = std::jthread{[self = &own, until] {
          shutdown_report nobody_reads;
          self->escalate(until, nobody_reads);
        }};
      } catch (const std::system_error& refused) {
        throw error{errc::resource_exhausted, task_ran::maybe,
                    std::string{"shutdown() without waiting has no thread that would look at its "
                                ".deadline: "} +
                        refused.what()};
      }
    }
  }
  const pool_stats after = pool.stats();
  report.drained = after.succeeded + after.failed - before.succeeded - before.failed;
  report.cancelled = after.cancelled - before.cancelled;
  report.killed_workers = pool.killed();
  return report;
}

void executor_end::terminate_workers() {
  state& own = checked();
  own.pool->terminate();
}
void executor_end::kill_workers() {
  state& own = checked();
  own.pool->kill();
}

const std::shared_ptr<open_maps>& executor_end::open() const {
  return checked_not_moved_from().open;
}

void executor_end::end() noexcept {
  if (!state_ || !state_->maker.is_here()) {
    return;
  }
  if (!state_->pool->can_wait()) {
    keep_for_ever(std::move(state_));  // as the pool itself: nothing of it is touched
    return;
  }
  const bool drop = std::uncaught_exceptions() > state_->exceptions_before;
  try {
    if (drop) {
      state_->open->drop_all();
    } else {
      state_->open->pull_all(std::nullopt, !state_->pool->in_own_task());
    }
    state_->pool->close();
    if (drop) {
      state_->pool->cancel_waiting();
    }
    if (!state_->pool->in_own_task()) {
      state_->pool->join_until(std::nullopt);
    }
  } catch (const std::exception& problem) {
    log(log_level::error,
        std::string{"an executor could not be ended in order: "} + problem.what());
  }
}

}  // namespace troupe::detail
