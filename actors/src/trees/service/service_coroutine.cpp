// SPDX-License-Identifier: BSD-3-Clause
#include "trees/service/service_coroutine.hpp"

#include "troupe/task.hpp"

#include "pools/coroutine/task_executor.hpp"

#include <algorithm>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/co_spawn.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <chrono>
#include <utility>

namespace troupe::detail {
coroutine_thread::coroutine_thread() {
  with_own_numbers(io_);
}
coroutine_thread::~coroutine_thread() = default;

void coroutine_thread::run() {
  const auto stay = asio::make_work_guard(io_);
  io_.run();
}

void coroutine_thread::run_until(const std::function<bool()>& over) {
  const auto stay = asio::make_work_guard(io_);
  while (!over()) {
    io_.run_one();
  }
}

bool coroutine_thread::run_ready() {
  io_.restart();
  return io_.poll() > 0;
}

void coroutine_thread::drop_rest() {
  io_.empty();
}

service_coroutine::service_coroutine(std::shared_ptr<service_state> self,
                                     std::shared_ptr<coroutine_thread> where, bound_call target,
                                     std::function<void(std::exception_ptr)> ended)
    : self_{std::move(self)},
      where_{std::move(where)},
      target_{std::move(target)},
      told_{std::move(ended)} {
  self_->running = &where_->running();
}

void service_coroutine::begin() {
  asio::post(where_->io(), [self = shared_from_this()] { self->call(); });
}

void service_coroutine::ask_to_stop() {
  asio::post(where_->io(), [self = shared_from_this()] {
    const as_service scope{*self->self_};
    self->self_->stop.request_stop();
    self->signal_.emit(asio::cancellation_type::all);
  });
}

asio::any_io_executor service_coroutine::executor() {
  // An executor refers to this object: each copy of it keeps the object alive.
  return task_executor<as_service, service_state, asio::io_context::executor_type>{
      std::shared_ptr<const service_state>{shared_from_this(), self_.get()},
      where_->io().get_executor()};
}

void service_coroutine::call() {
  const as_service scope{*self_};
  if (self_->stop.stop_requested()) {
    conclude(nullptr);
    return;
  }
  try {
    const attachment_source attachments{target_.attachments()};
    if (!task_) {
      task_ = decode_task_callable(target_.callable());
    }
    auto stage = task_stage::decode_arguments;
    task_->begin(target_.arguments(), shared_from_this(), stage);
  } catch (...) {  // of the user's
    conclude(std::current_exception());
  }
}

void service_coroutine::ended(task_stage /*stage*/, std::exception_ptr thrown) {
  if (thrown && self_->stop.stop_requested() && says_stopped(thrown)) {
    thrown = nullptr;
  }
  // When the coroutine's frame is gone.
  asio::post(where_->io(), [self = shared_from_this(), thrown = std::move(thrown)]() mutable {
    if (!thrown && self->self_->role.every_ms >= 0 && !self->self_->stop.stop_requested()) {
      self->pause(std::chrono::milliseconds{self->self_->role.every_ms});
    } else {
      self->conclude(std::move(thrown));
    }
  });
}

void service_coroutine::pause(std::chrono::milliseconds left) {
  if (left.count() <= 0) {
    call();
    return;
  }
  const std::int64_t beat_ms = self_->role.beat_ms;
  const auto part = beat_ms < 0 ? left : std::min(left, std::chrono::milliseconds{beat_ms});
  asio::co_spawn(
      executor(), sleep_during(part),
      asio::bind_cancellation_slot(signal_.slot(), [self = shared_from_this(), left,
                                                    part](const std::exception_ptr& stopped) {
        if (stopped) {
          self->conclude(nullptr);
        } else {
          self->self_->beat();
          self->pause(left - part);
        }
      }));
}

void service_coroutine::conclude(std::exception_ptr thrown) {
  {
    const as_service scope{*self_};
    task_.reset();
    target_ = {};
  }
  if (const auto told = std::exchange(told_, nullptr)) {
    told(std::move(thrown));
  }
}

byte_sink& service_coroutine::result() {
  result_.truncate(0);
  return result_;
}

}  // namespace troupe::detail
