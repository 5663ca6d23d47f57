// SPDX-License-Identifier: BSD-3-Clause

// Tasks of a thread pool that are coroutines.

#include "thread_coroutines.hpp"

#include "task_executor.hpp"

#include <asio/cancellation_signal.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <chrono>
#include <optional>
#include <stop_token>
#include <utility>

namespace troupe::detail {
namespace {

/// Handlers run in one go, before the queue is looked at again.
constexpr int handlers_per_turn = 64;

/// What a coroutine encodes its result into in a process; here nothing is.
class no_sink final : public byte_sink {
 protected:
  void grow(std::size_t) override {}
};

class as_local_task {
 public:
  explicit as_local_task(const local_task& now)
      : before_{std::exchange(local_task::here(), &now)} {}
  as_local_task(const as_local_task&) = delete;
  as_local_task& operator=(const as_local_task&) = delete;
  ~as_local_task() { local_task::here() = before_; }

 private:
  const local_task* before_;
};

}  // namespace

/// One coroutine on its way, kept by the coroutine itself.
class local_run final : public coroutine_run, public std::enable_shared_from_this<local_run> {
 public:
  using end = std::function<void(local_run&, const std::exception_ptr&)>;

  local_run(worker_loop& home, const local_task& as, std::shared_ptr<thread_job> job, end at_end)
      : home_{home}, io_{home.io_}, as_{as}, job_{std::move(job)}, at_end_{std::move(at_end)} {
    ++home_.active_;
  }

  /// From any thread: asks the coroutine to stop.
  void watch(const std::stop_token& token) {
    on_stop_.emplace(token, stop_request{weak_from_this(), io_});
  }

  [[nodiscard]] asio::any_io_executor executor() override {
    // Whoever keeps the executor keeps what it speaks of.
    return task_executor<as_local_task, local_task, asio::io_context::executor_type>{
        std::shared_ptr<const local_task>{shared_from_this(), &as_}, io_->get_executor()};
  }
  [[nodiscard]] asio::cancellation_slot stop_slot() override { return signal_.slot(); }
  byte_sink& result() override {
    if (job_->is_void()) {
      job_->decide(as_.item, *this);  // there is no value that would be stored first
    }
    return sink_;
  }
  void ended(task_stage /*stage*/, std::exception_ptr thrown) override {
    const as_local_task scope{as_};
    const auto self = shared_from_this();
    on_stop_.reset();
    --home_.active_;
    at_end_(*this, thrown);
  }

  [[nodiscard]] bool was_stopped() const noexcept { return stopped_; }
  [[nodiscard]] const std::shared_ptr<thread_job>& job() const noexcept { return job_; }

  bool stored = false;  ///< its value is the outcome

 private:
  struct stop_request {
    std::weak_ptr<local_run> whom;
    std::shared_ptr<asio::io_context> io;
    void operator()() const {
      asio::post(*io, [whom = whom] {
        if (const auto run = whom.lock()) {
          run->stopped_ = true;
          const as_local_task scope{run->as_};
          run->signal_.emit(asio::cancellation_type::all);
        }
      });
    }
  };

  worker_loop& home_;
  std::shared_ptr<asio::io_context> io_;
  local_task as_;
  std::shared_ptr<thread_job> job_;
  end at_end_;
  no_sink sink_;
  asio::cancellation_signal signal_;
  std::optional<std::stop_callback<stop_request>> on_stop_;
  bool stopped_ = false;
};

std::shared_ptr<coroutine_run> as_coroutine_run(const std::shared_ptr<local_run>& run) {
  return run;
}

bool thread_job::decide(std::uint32_t item, local_run& run) {
  run.stored = decide(item);
  return run.stored;
}

worker_loop::worker_loop() : io_{std::make_shared<asio::io_context>(1)} {
  with_own_numbers(*io_);
}
worker_loop::~worker_loop() = default;

bool worker_loop::has_work() {
  if (active_ > 0) {
    return true;
  }
  run_ready();
  return !io_->stopped();
}

void worker_loop::run_ready() {
  io_->restart();
  for (int i = 0; i < handlers_per_turn && io_->poll_one() > 0; ++i) {
  }
}

void worker_loop::wait(const deadline& until) {
  // A coroutine may wait for something that Asio does not know of.
  const auto stay = asio::make_work_guard(*io_);
  io_->restart();
  if (until) {
    io_->run_one_until(*until);
  } else {
    io_->run_one();
  }
  run_ready();
}

std::function<void()> worker_loop::poker() const {
  return [io = io_] { asio::post(*io, [] {}); };
}

void thread_core::begin_coroutine(worker& self, const std::shared_ptr<thread_job>& job,
                                  std::uint32_t item, bool again) {
  const auto not_running = [this, &self, job] {
    const std::lock_guard lock{mutex_};
    self.stopped_running(*job);
  };
  const auto attempt = enter(*job, item, again);
  if (!attempt) {
    not_running();
    return;
  }
  if (!self.loop) {
    self.loop = std::make_unique<worker_loop>();
    const std::lock_guard lock{self.bell->mutex};
    self.bell->poke = self.loop->poker();
  }
  if (job->options_->timeout) {
    begin_limit(*job, item);
  }
  const local_task as{job->number_, this, job.get(), item, *attempt};
  const auto run = std::make_shared<local_run>(
      *self.loop, as, job,
      [this, &self, item, not_running](local_run& ended, const std::exception_ptr& thrown) {
        not_running();
        self.note_busy();
        if (self.depth == 0 && !self.leaving) {
          self.free.store(true);
        }
        coroutine_ended(self, ended.job(), item, ended.stored, thrown, ended.was_stopped());
      });
  run->watch(stop_token_of(*job, item));
  self.note_busy();
  try {
    job->begin(item, run);
  } catch (...) {
    run->ended(task_stage::run, std::current_exception());  // what copying an argument threw
  }
}

/// On the worker's thread, in its loop.
void thread_core::coroutine_ended(worker& self, const std::shared_ptr<thread_job>& job,
                                  std::uint32_t item, bool stored, const std::exception_ptr& thrown,
                                  bool stopped) {
  if (job->options_->timeout && !self.parked) {
    end_limit(*job, item);
  }
  const auto was_cancelled = [&] {
    const std::lock_guard lock{control_};
    return job->rare_ && job->rare_->stop_all && !job->rare_->overdue;
  };
  if (thrown && stopped && says_stopped(thrown) && was_cancelled()) {
    job->drop(item, item + 1);
    if (job->claim_outcome(item)) {
      fail(*job, item, nullptr,
           plain(errc::cancelled, task_ran::yes,
                 "task #" + std::to_string(job->number_) + " of " + title() +
                     " was cancelled while it ran, and stopped",
                 *job));
    }
    return;
  }
  conclude(self, *job, item, stored, thrown, false);
}

}  // namespace troupe::detail
