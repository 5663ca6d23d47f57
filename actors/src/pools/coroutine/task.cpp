// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/task.hpp"

#include "pools/coroutine/coroutine_clock.hpp"

#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/error.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <atomic>
#include <functional>
#include <optional>
#include <system_error>

namespace troupe::detail {
namespace {

/// Resumes one waiting coroutine on its own executor, once: the first call of `resume` counts.
template <class Handler>
class resumption final : public completion_listener,
                         public std::enable_shared_from_this<resumption<Handler>> {
 public:
  explicit resumption(Handler handler)
      : slot_{asio::get_associated_cancellation_slot(handler)},
        executor_{asio::prefer(asio::get_associated_executor(handler),
                               asio::execution::outstanding_work.tracked)},
        handler_{std::move(handler)} {}

  /// `cancel` is called if the coroutine is cancelled first, after this resumed it.
  void when_cancelled(std::function<void(resumption&)> cancel) {
    if (slot_.is_connected()) {
      slot_.assign([weak = this->weak_from_this(),
                    cancel = std::move(cancel)](asio::cancellation_type /*kind*/) {
        if (const auto self = weak.lock(); self && self->resume(asio::error::operation_aborted)) {
          cancel(*self);
        }
      });
    }
  }

  bool resume(std::error_code why) {
    if (fired_.exchange(true)) {
      return false;
    }
    asio::post(executor_, [self = this->shared_from_this(), why] {
      self->slot_.clear();  // on the coroutine's thread, as its other uses
      Handler last = std::move(*self->handler_);
      self->handler_.reset();
      std::move(last)(why);
    });
    return true;
  }

  void completed(future_state& /*state*/) noexcept override { resume({}); }

 private:
  asio::associated_cancellation_slot_t<Handler> slot_;
  asio::any_io_executor executor_;
  std::optional<Handler> handler_;
  std::atomic<bool> fired_{false};
};

// What these take is theirs: on a loop with several threads the coroutine may go on, and end,
// before they return.

struct begin_awaiting_end {
  template <class Handler>
  void operator()(Handler handler, std::shared_ptr<future_state> state) const {
    const auto waiting = std::make_shared<resumption<Handler>>(std::move(handler));
    waiting->when_cancelled([state](resumption<Handler>& self) {
      state->unlisten(&self);
      state->cancel(false);
    });
    if (!state->listen(waiting)) {
      waiting->resume({});
    }
  }
};

struct begin_awaiting_room {
  template <class Handler>
  void operator()(Handler handler, std::shared_ptr<room_turn> turn) const {
    const auto waiting = std::make_shared<resumption<Handler>>(std::move(handler));
    waiting->when_cancelled([turn](resumption<Handler>&) { leave_turn(*turn); });
    wait_turn(turn, [waiting] { waiting->resume({}); });
  }
};

struct begin_sleeping {
  template <class Handler>
  void operator()(Handler handler, const coroutine_clock* clock,
                  std::chrono::nanoseconds time) const {
    const auto waiting = std::make_shared<resumption<Handler>>(std::move(handler));
    waiting->when_cancelled([](resumption<Handler>&) {});
    clock->call_after(time, [waiting] { waiting->resume({}); });
  }
};

using token = const asio::use_awaitable_t<>&;

}  // namespace

const coroutine_clock*& coroutine_clock::here() noexcept {
  constinit thread_local const coroutine_clock* clock = nullptr;
  return clock;
}

task<void> sleep_during(std::chrono::nanoseconds time) {
  if (const coroutine_clock* const clock = coroutine_clock::here()) {
    co_await asio::async_initiate<token, void(std::error_code)>(begin_sleeping{},
                                                                asio::use_awaitable, clock, time);
    co_return;
  }
  asio::steady_timer timer{co_await asio::this_coro::executor};
  timer.expires_at(deadline_after(time).value_or(std::chrono::steady_clock::time_point::max()));
  co_await timer.async_wait(asio::use_awaitable);
}

task<void> await_end(std::shared_ptr<future_state> state) {
  if (!state->done()) {
    co_await asio::async_initiate<token, void(std::error_code)>(begin_awaiting_end{},
                                                                asio::use_awaitable, state);
  }
}

task<void> await_room(std::shared_ptr<room_turn> turn) {
  co_await asio::async_initiate<token, void(std::error_code)>(begin_awaiting_room{},
                                                              asio::use_awaitable, turn);
}

}  // namespace troupe::detail
