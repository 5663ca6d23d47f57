// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/shutdown.hpp"

#include "troupe/executor.hpp"
#include "troupe/log.hpp"

#include "futures/made_here.hpp"
#include "pools/process/pool_core_impl.hpp"
#include "pools/process/supervisor_actor.hpp"
#include "pools/thread/thread_core_impl.hpp"

#include <chrono>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace troupe::detail {
namespace {

/// What ends, in words that fit both kinds.
class ending {
 public:
  ending() = default;
  ending(const ending&) = delete;
  ending& operator=(const ending&) = delete;
  virtual ~ending() = default;

  virtual void close() = 0;
  virtual void drop_waiting() = 0;
  virtual void ask_to_stop() = 0;
  virtual void terminate() = 0;
  virtual void kill() = 0;
  virtual bool join_until(const deadline& until) = 0;
  virtual pool_stats stats() = 0;
  virtual std::uint64_t killed() { return 0; }
  /// How many workers `terminate` would end by a signal.
  virtual std::uint64_t processes() { return 0; }
  [[nodiscard]] virtual std::chrono::milliseconds grace() const = 0;
  /// Waiting here would be waiting for oneself.
  [[nodiscard]] virtual bool in_own_task() const { return false; }
  /// False: this is a forked child, or a thread of the library's that calls exit.
  [[nodiscard]] virtual bool can_wait() const = 0;
};

class process_ending final : public ending {
 public:
  explicit process_ending(pool_ptr pool) : pool_{std::move(pool)} {}
  void close() override { pool_->close(); }
  void drop_waiting() override {
    pool_->ask([](supervisor& s) { s.cancel_waiting(); });
  }
  void ask_to_stop() override {
    pool_->ask([](supervisor& s) { s.ask_all_to_stop(); });
  }
  void terminate() override { pool_->terminate(); }
  void kill() override {
    pool_->ask([](supervisor& s) { s.kill_all(); });
  }
  bool join_until(const deadline& until) override { return pool_->join_until(until); }
  pool_stats stats() override { return pool_->stats(); }
  std::uint64_t killed() override {
    std::uint64_t count = 0;
    pool_->ask([&](supervisor& s) { count = s.killed(); });
    return count;
  }
  std::uint64_t processes() override {
    std::uint64_t count = 0;
    pool_->ask([&](supervisor& s) { count = s.processes(); });
    return count;
  }
  [[nodiscard]] std::chrono::milliseconds grace() const override { return pool_->options().grace; }
  [[nodiscard]] bool can_wait() const override { return pool_->can_wait(); }

 private:
  pool_ptr pool_;
};

class thread_ending final : public ending {
 public:
  explicit thread_ending(thread_core_ptr pool) : pool_{std::move(pool)} {}
  void close() override { pool_->close(); }
  void drop_waiting() override { pool_->cancel_waiting(" was shut down before it began"); }
  void ask_to_stop() override { pool_->ask_all_to_stop(); }
  void terminate() override { pool_->terminate(pool_->options().grace); }
  void kill() override { pool_->terminate(std::chrono::milliseconds{0}); }
  bool join_until(const deadline& until) override { return pool_->join_until(until); }
  pool_stats stats() override { return pool_->stats(); }
  [[nodiscard]] std::chrono::milliseconds grace() const override { return pool_->options().grace; }
  [[nodiscard]] bool in_own_task() const override { return pool_->in_own_task(); }
  [[nodiscard]] bool can_wait() const override { return pool_->is_of_this_process(); }

 private:
  thread_core_ptr pool_;
};

}  // namespace

struct executor_end::state {
  delete_where_made maker;
  std::unique_ptr<ending> pool;
  std::shared_ptr<open_maps> open = std::make_shared<open_maps>();
  int exceptions_before = std::uncaught_exceptions();
  std::mutex mutex;
  std::jthread escalating;  // guarded by mutex; of a shutdown with a deadline that did not wait

  /// Ends all there is by all means; what it had to do is added to the report.
  void escalate(const deadline& until, shutdown_report& into) {
    if (pool->join_until(until)) {
      into.complete = true;
      return;
    }
    pool->drop_waiting();
    pool->ask_to_stop();
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

executor_end::executor_end(const pool_ptr& pool) : state_{std::make_unique<state>()} {
  state_->pool = std::make_unique<process_ending>(pool);
}
executor_end::executor_end(const thread_core_ptr& pool) : state_{std::make_unique<state>()} {
  state_->pool = std::make_unique<thread_ending>(pool);
}
executor_end::~executor_end() {
  if (state_ && !state_->maker.is_here()) {
    static_cast<void>(state_.release());  // its thread is not there to be waited for
  }
}
executor_end::executor_end(executor_end&&) noexcept = default;

shutdown_report executor_end::shutdown(const shutdown_options& how) {
  state_->maker.check_is_here();
  ending& pool = *state_->pool;
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
    state_->open->drop_all();
  } else {
    // In a task of its own the worker may be needed by who is pulling just now.
    state_->open->pull_all(until, !pool.in_own_task());
  }
  pool.close();
  if (how.cancel_pending) {
    pool.drop_waiting();
  }
  if (how.wait && until) {
    state_->escalate(until, report);
  } else if (how.wait) {
    report.complete = pool.join_until(std::nullopt);
  } else if (until) {
    const std::lock_guard lock{state_->mutex};
    if (!state_->escalating.joinable()) {
      state_->escalating = std::jthread{[self = state_.get(), until] {
        shutdown_report nobody_reads;
        self->escalate(until, nobody_reads);
      }};
    }
  }
  const pool_stats after = pool.stats();
  report.drained = after.succeeded + after.failed - before.succeeded - before.failed;
  report.cancelled = after.cancelled - before.cancelled;
  report.killed_workers = pool.killed();
  return report;
}

void executor_end::terminate_workers() {
  state_->maker.check_is_here();
  state_->pool->terminate();
}
void executor_end::kill_workers() {
  state_->maker.check_is_here();
  state_->pool->kill();
}

const std::shared_ptr<open_maps>& executor_end::open() const noexcept {
  return state_->open;
}

void executor_end::end() noexcept {
  if (!state_ || !state_->maker.is_here()) {
    return;
  }
  if (!state_->pool->can_wait()) {
    static_cast<void>(state_.release());  // as the pool itself: nothing of it is touched
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
      state_->pool->drop_waiting();
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
