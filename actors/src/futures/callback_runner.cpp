// SPDX-License-Identifier: BSD-3-Clause
#include "futures/callback_runner.hpp"

#include "troupe/detail/futex.hpp"

#include <unistd.h>

#include <optional>
#include <utility>

namespace troupe::detail {

namespace {
/// The process where the calling thread runs callbacks: a child forked by one does not.
constinit thread_local pid_t runs_callbacks_in = 0;

void wait_for_zero(const std::atomic<std::uint32_t>& count) noexcept {
  for (std::uint32_t left = count.load(); left != 0; left = count.load()) {
    futex_wait(count, left, std::nullopt);
  }
}
}  // namespace

void callback_threads::remove() noexcept {
  if (running_.fetch_sub(1) == 1) {
    futex_wake_all(running_);
  }
}

void callback_threads::wait_until_none() const noexcept {
  wait_for_zero(running_);
}

bool callback_runner::is_here() noexcept {
  return runs_callbacks_in == ::getpid();
}

void callback_runner::run(std::function<void()> function) {
  {
    const mutex_guard lock{mutex_};
    if (stopped_) {
      return;  // the program is ending: no code is left to be told
    }
    if (!started_) {
      start_thread("troupe.calls", [self = shared_from_this()] { self->work(); });
      started_ = true;
      if (counted_in_) {
        counted_in_->add();
      }
    }
    unfinished_.fetch_add(1);
    queue_.push_back(std::move(function));
    if (queue_.size() > 1) {
      return;  // the thread was woken for the first, and finds this one too
    }
  }
  flag_.wake();
}

std::vector<std::function<void()>> callback_runner::next() {
  for (;;) {
    const std::uint32_t seen = flag_.look();
    {
      const mutex_guard lock{mutex_};
      if (!queue_.empty() || stopped_) {
        return std::exchange(queue_, {});
      }
    }
    flag_.sleep(seen);
  }
}

void callback_runner::work() {
  runs_callbacks_in = ::getpid();
  {
    const mutex_guard lock{mutex_};
    thread_ = std::this_thread::get_id();
  }
  for (auto todo = next(); !todo.empty(); todo = next()) {
    for (auto& function : todo) {
      function();
      function = nullptr;
      if (unfinished_.fetch_sub(1) == 1) {
        futex_wake_all(unfinished_);
      }
    }
  }
  if (counted_in_) {
    counted_in_->remove();
  }
}

void callback_runner::wait_idle() {
  {
    const mutex_guard lock{mutex_};
    if (thread_ == std::this_thread::get_id()) {
      return;
    }
  }
  wait_for_zero(unfinished_);
}

void callback_runner::stop() {
  {
    const mutex_guard lock{mutex_};
    stopped_ = true;
  }
  flag_.wake();
}

}  // namespace troupe::detail
