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
}  // namespace

bool callback_runner::is_here() noexcept {
  return runs_callbacks_in == ::getpid();
}

/// Has a thread of its own, so that a callback may block without holding up anybody's results.
class callback_actor final : public caf::event_based_actor {
 public:
  callback_actor(caf::actor_config& config, std::shared_ptr<callback_runner> runner)
      : caf::event_based_actor{config}, runner_{std::move(runner)} {}
  caf::behavior make_behavior() override {
    return {[this](std::uint32_t kind, std::uint64_t, const std::string&) {
      if (kind == 0) {
        quit();
      } else {
        runner_->run_queued();
      }
    }};
  }

 private:
  std::shared_ptr<callback_runner> runner_;
};

void callback_runner::run(std::function<void()> function) {
  caf::actor to;
  {
    const std::lock_guard lock{mutex_};
    if (stopped_) {
      return;  // the program is ending: nobody is left to tell
    }
    if (!actor_) {
      actor_ = compat::spawn<callback_actor, caf::detached>(system_, shared_from_this());
    }
    unfinished_.fetch_add(1);
    queue_.push_back(std::move(function));
    if (queue_.size() > 1) {
      return;  // a message is on its way that will find this one too
    }
    to = actor_;
  }
  compat::send(to, std::uint32_t{1}, std::uint64_t{0}, std::string{});
}

void callback_runner::run_queued() {
  runs_callbacks_in = ::getpid();
  for (;;) {
    std::vector<std::function<void()>> todo;
    {
      const std::lock_guard lock{mutex_};
      thread_ = std::this_thread::get_id();
      todo.swap(queue_);
    }
    if (todo.empty()) {
      return;
    }
    for (auto& function : todo) {
      function();
      function = nullptr;
      if (unfinished_.fetch_sub(1) == 1) {
        futex_wake_all(unfinished_);
      }
    }
  }
}

void callback_runner::wait_idle() {
  {
    const std::lock_guard lock{mutex_};
    if (thread_ == std::this_thread::get_id()) {
      return;
    }
  }
  for (std::uint32_t left = unfinished_.load(); left != 0; left = unfinished_.load()) {
    futex_wait(unfinished_, left, std::nullopt);
  }
}

void callback_runner::stop() {
  caf::actor to;
  {
    const std::lock_guard lock{mutex_};
    stopped_ = true;
    to = std::exchange(actor_, {});
  }
  if (to) {
    compat::send(to, std::uint32_t{0}, std::uint64_t{0}, std::string{});
  }
}

}  // namespace troupe::detail
