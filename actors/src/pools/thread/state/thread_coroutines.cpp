// SPDX-License-Identifier: BSD-3-Clause

// Tasks of a thread pool that are coroutines.

#include "pools/thread/state/thread_coroutines.hpp"

#include "pools/coroutine/task_executor.hpp"

#include <algorithm>
#include <asio/cancellation_signal.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <chrono>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

/// How many handlers run before the worker looks at the queue again.
constexpr int handlers_per_turn = 64;

/// The sink into which a coroutine in a worker process encodes its result; unused in a thread pool.
class no_sink final : public byte_sink {
 protected:
  void grow(std::size_t) override {}
};

/// Marks, while it lives, that the calling thread runs a part of a coroutine.
class as_local_task {
 public:
  explicit as_local_task(const local_task& now)
      : now_{now},
        before_{std::exchange(local_task::here(), &now)},
        below_{std::exchange(top(), this)} {}
  as_local_task(const as_local_task&) = delete;
  as_local_task& operator=(const as_local_task&) = delete;
  ~as_local_task() {
    local_task::here() = before_;
    top() = below_;
  }

  /// The calling thread's innermost.
  static const as_local_task*& top() noexcept {
    constinit thread_local const as_local_task* innermost = nullptr;
    return innermost;
  }
  [[nodiscard]] const local_task& task() const noexcept { return now_; }
  [[nodiscard]] const as_local_task* below() const noexcept { return below_; }

 private:
  const local_task& now_;
  const local_task* before_;
  const as_local_task* below_;
};

}  // namespace

std::size_t coroutines_below_caller(const thread_group& map) {
  std::vector<const local_task*> found;  // each once, even if the thread runs it recursively
  for (const auto* each = as_local_task::top(); each != nullptr; each = each->below()) {
    const local_task* const task = &each->task();
    if (!task->over && task->submission->group.get() == &map &&
        std::find(found.begin(), found.end(), task) == found.end()) {
      found.push_back(task);
    }
  }
  return found.size();
}

/// One running coroutine task, kept alive by the coroutine itself.
class local_run final : public coroutine_run, public std::enable_shared_from_this<local_run> {
 public:
  local_run(worker_loop& host, const local_task& as, std::shared_ptr<thread_submission> submission,
            worker_loop::end at_end)
      : host_{host},
        io_{host.io_},
        as_{as},
        submission_{std::move(submission)},
        at_end_{std::move(at_end)} {
    ++host_.active_;
  }

  /// From any thread: asks the coroutine to stop.
  void watch(const std::stop_token& token) {
    on_stop_.emplace(token, stop_request{weak_from_this(), io_});
  }

  [[nodiscard]] asio::any_io_executor executor() override {
    // An executor refers to this object: each copy of it keeps the object alive.
    return task_executor<as_local_task, local_task, asio::io_context::executor_type>{
        std::shared_ptr<const local_task>{shared_from_this(), &as_}, io_->get_executor()};
  }
  [[nodiscard]] asio::cancellation_slot stop_slot() override { return signal_.slot(); }
  byte_sink& result() override { return sink_; }
  void ended(task_stage /*stage*/, std::exception_ptr thrown) override {
    const as_local_task scope{as_};
    const auto self = shared_from_this();
    as_.over = true;
    on_stop_.reset();
    --host_.active_;
    at_end_(thrown, thrown && stopped_ && says_stopped(thrown));
  }

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

  worker_loop& host_;
  std::shared_ptr<asio::io_context> io_;
  local_task as_;
  std::shared_ptr<thread_submission> submission_;
  worker_loop::end at_end_;
  no_sink sink_;
  asio::cancellation_signal signal_;
  std::optional<std::stop_callback<stop_request>> on_stop_;
  bool stopped_ = false;
};

std::shared_ptr<coroutine_run> as_coroutine_run(const std::shared_ptr<local_run>& run) {
  return run;
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
  // A coroutine may wait for something that is not in Asio's loop, such as a future.
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

void worker_loop::begin(const local_task& as, const std::shared_ptr<thread_submission>& submission,
                        const std::stop_token& stop, end ended,
                        const std::function<void()>& counted) {
  const auto run = std::make_shared<local_run>(*this, as, submission, std::move(ended));
  run->watch(stop);
  counted();
  try {
    submission->begin(as.item, run);
  } catch (...) {
    run->ended(task_stage::run, std::current_exception());  // what copying an argument threw
  }
}

}  // namespace troupe::detail
