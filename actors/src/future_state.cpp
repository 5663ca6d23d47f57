// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/future_state.hpp"

#include "troupe/log.hpp"

#include <utility>

namespace troupe::detail {

future_state::~future_state() = default;

bool future_state::wait(const deadline& until) const noexcept {
  if (done()) {
    return true;
  }
  if (!until) {
    const handover& own = handover::of_this_thread();
    int expected = nobody;
    if (own.address() >= 0 && waiter_.compare_exchange_strong(expected, own.address())) {
      // Registered before `finish` looked, so it will signal exactly once, and this thread does
      // nothing else until then.
      own.wait();
      return true;
    }
  }
  for (;;) {
    std::uint32_t now = word_.load(std::memory_order_acquire);
    if (now == fulfilled) {
      return true;
    }
    if (now == pending && !word_.compare_exchange_weak(now, awaited)) {
      continue;
    }
    if (!futex_wait(word_, awaited, until)) {
      return done();
    }
  }
}

void future_state::rethrow_failure() const {
  if (failure_) {
    rethrow(*failure_);
  }
}

void future_state::finish(std::shared_ptr<const failure> failed) noexcept {
  failure_ = std::move(failed);
  std::vector<callback> todo;
  std::uint32_t before = 0;
  {
    // Under the lock, so that a callback is either taken here or finds the state fulfilled.
    const std::lock_guard lock{mutex_};
    before = word_.exchange(fulfilled);
    todo.swap(callbacks_);
  }
  if (before == awaited) {
    futex_wake_all(word_);
  }
  if (const int waiter = waiter_.exchange(too_late); waiter >= 0) {
    handover::signal(waiter);
  }
  for (callback& function : todo) {
    run(std::move(function));
  }
}

void future_state::when_done(callback function) {
  {
    const std::lock_guard lock{mutex_};
    if (!done()) {
      callbacks_.push_back(std::move(function));
      return;
    }
  }
  run(std::move(function));
}

void future_state::run(callback function) {
  callbacks()([self = shared_from_this(), function = std::move(function)] {
    try {
      function(*self);
    } catch (...) {
      report_callback(std::current_exception());
    }
  });
}

void throw_no_state() {
  throw error{errc::no_state, task_ran::no,
              "troupe: this future belongs to no task: it was default-constructed or moved from"};
}

void report_callback(const std::exception_ptr& thrown) noexcept {
  try {
    const failure what = capture_failure(thrown);
    log(log_level::error, "a callback of a future threw " + what.type_name + ": " + what.text);
  } catch (const std::bad_alloc&) {
    log(log_level::error, "a callback of a future threw");
  }
}

void throw_result_decode(const std::exception_ptr& thrown) {
  rethrow(capture_failure(errc::result_decode_failed, thrown));
}

}  // namespace troupe::detail
