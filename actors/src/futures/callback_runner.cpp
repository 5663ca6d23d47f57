// SPDX-License-Identifier: BSD-3-Clause
#include "futures/callback_runner.hpp"

#include "troupe/detail/futex.hpp"
#include "troupe/error.hpp"

#include <unistd.h>

#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace troupe::detail {

namespace {
/// The process where the calling thread runs callbacks: a child forked by one does not.
constinit thread_local pid_t runs_callbacks_in = 0;

/// Destroys it; what its destructor drops in turn is destroyed after it, not inside of it: a chain
/// of futures may be long.
void drop_one_by_one(std::function<void()> what) {
  using functions = std::vector<std::function<void()>>;
  constinit thread_local functions* dropping = nullptr;
  if (dropping != nullptr) {
    dropping->push_back(std::move(what));
    return;
  }
  functions left;
  left.push_back(std::move(what));
  dropping = &left;
  while (!left.empty()) {
    const std::function<void()> next = std::move(left.back());
    left.pop_back();
  }
  dropping = nullptr;
}

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

void callback_runner::start() {
  if (started_) {
    return;
  }
  try {
    start_thread("troupe.calls", [self = shared_from_this()] { self->work(); });
  } catch (const std::system_error& refused) {
    throw error{errc::resource_exhausted, task_ran::maybe,
                std::string{"troupe: there is no thread for callbacks: "} + refused.what()};
  }
  started_ = true;
  if (counted_in_) {
    counted_in_->add();
  }
}

void callback_runner::run(std::function<void()> function) {
  bool is_first = false;
  bool is_refused = false;
  {
    const mutex_guard lock{mutex_};
    is_refused = stopped_;
    if (!is_refused) {
      start();
      if (!function) {
        return;
      }
      unfinished_.fetch_add(1);
      queue_.push_back(std::move(function));
      is_first = queue_.size() == 1;  // for the first the thread is woken, and it finds all
    }
  }
  if (is_refused) {
    drop_one_by_one(std::move(function));
    throw pool_closed{
        "troupe: the troupe::system of this future's pool has ended, and with it the thread that "
        "runs callbacks: use get() here, or add the callback before that"};
  }
  if (is_first) {
    flag_.wake();
  }
}

std::vector<std::function<void()>> callback_runner::next() {
  for (;;) {
    const std::uint32_t seen = flag_.look();
    {
      const mutex_guard lock{mutex_};
      if (!queue_.empty() || stopped_) {
        return std::exchange(queue_, {});
      }
      if (retired_) {
        started_ = false;
        thread_ = {};
        return {};
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

void callback_runner::retire() {
  {
    const mutex_guard lock{mutex_};
    retired_ = true;
  }
  flag_.wake();
}

void callback_runner::stop() {
  {
    const mutex_guard lock{mutex_};
    stopped_ = true;
  }
  flag_.wake();
}

}  // namespace troupe::detail
