// SPDX-License-Identifier: BSD-3-Clause
#include "testing/virtual_loop.hpp"

#include "troupe/error.hpp"

#include <algorithm>
#include <stop_token>
#include <string>
#include <string_view>

namespace troupe::detail {
namespace {

/// What a wait lets pass before it is refused: it would never end.
constexpr std::chrono::hours longest_wait{24};

/// Services hear of virtual time.
class virtual_host final : public service_host {
 public:
  virtual_host(const virtual_loop& time, service_threads::listener said)
      : time_{time}, said_{std::move(said)} {}
  void say(line_kind what, std::string_view text, bool /*wait*/) noexcept override {
    said_(what, text);
  }
  [[nodiscard]] std::int64_t now_ns() const noexcept override {
    return time_.now().time_since_epoch().count();
  }
  void sleep(const std::stop_token& /*stop*/, std::chrono::nanoseconds /*time*/) override {
    throw error{errc::would_deadlock, task_ran::no,
                "troupe: in a simulation, a coroutine sleeps by co_await troupe::sleep_for(time): "
                "this_service::sleep_for would keep the whole tree waiting"};
  }

 private:
  const virtual_loop& time_;
  service_threads::listener said_;
};

/// All coroutines in the loop of the test; functions have stand-ins.
class virtual_threads final : public service_threads {
 public:
  virtual_threads(const virtual_loop& time, std::shared_ptr<coroutine_thread> loop)
      : time_{time}, loop_{std::move(loop)} {}

  [[nodiscard]] std::shared_ptr<service_host> make_host(listener said) override {
    return std::make_shared<virtual_host>(time_, std::move(said));
  }
  void start(const std::string& name, std::function<void()> /*run*/) override {
    throw error{errc::wrong_state, task_ran::no,
                "troupe: a simulation has no threads, so none for '" + name + "'"};
  }
  void run_aside(std::function<void()> run) override { run(); }
  [[nodiscard]] std::shared_ptr<coroutine_thread> next() override { return loop_; }

 private:
  const virtual_loop& time_;
  std::shared_ptr<coroutine_thread> loop_;
};

/// While one lives, the loop runs, and its time is that of coroutines.
class as_running {
 public:
  as_running(const coroutine_clock& time, bool& running)
      : running_{running},
        was_running_{std::exchange(running, true)},
        before_{std::exchange(coroutine_clock::here(), &time)} {}
  as_running(const as_running&) = delete;
  as_running& operator=(const as_running&) = delete;
  ~as_running() {
    coroutine_clock::here() = before_;
    running_ = was_running_;
  }

 private:
  bool& running_;
  const bool was_running_;
  const coroutine_clock* const before_;
};

}  // namespace

virtual_loop::virtual_loop(std::uint64_t seed) : seed_{seed}, lots_{seed} {}
virtual_loop::~virtual_loop() = default;

bool virtual_loop::post(std::function<void()> function) {
  posted_.push_back(std::move(function));
  return true;
}

std::uint64_t virtual_loop::call_at(steady_time when, std::function<void()> function) {
  const std::uint64_t timer = ++last_timer_;
  timers_.emplace(std::pair{std::max(when, now_), std::pair{lots_(), timer}}, std::move(function));
  return timer;
}

void virtual_loop::cancel(std::uint64_t timer) {
  std::erase_if(timers_, [timer](const auto& one) { return one.first.second.second == timer; });
}

bool virtual_loop::is_here() const {
  return running_ && std::this_thread::get_id() == thread_;
}

void virtual_loop::call_after(std::chrono::nanoseconds time, std::function<void()> function) const {
  // The clock of a thread is const to those that sleep by it.
  const_cast<virtual_loop*>(this)->call_at(now_ + time, std::move(function));
}

std::unique_ptr<service_threads> virtual_loop::make_services() {
  return std::make_unique<virtual_threads>(*this, coroutines_);
}

void virtual_loop::run_posted(const std::function<bool()>& over) {
  do {
    while (!posted_.empty() && !over()) {
      const std::function<void()> first = std::move(posted_.front());
      posted_.pop_front();
      first();
    }
  } while (!over() && (coroutines_->run_ready() || !posted_.empty()));
}

bool virtual_loop::run(steady_time until, const std::function<bool()>& over) {
  const as_running scope{*this, running_};
  bool more = true;
  for (;;) {
    run_posted(over);
    if (over()) {
      break;
    }
    if (timers_.empty()) {
      more = false;
      break;
    }
    const auto first = timers_.begin();
    if (first->first.first > until) {
      break;
    }
    now_ = first->first.first;
    const std::function<void()> function = std::move(first->second);
    timers_.erase(first);
    function();
  }
  if (!over() && until != steady_time::max()) {
    now_ = std::max(now_, until);
  }
  return more;
}

bool virtual_loop::drive(const std::function<bool()>& over) {
  run(now_ + longest_wait, over);
  if (!over()) {
    throw error{errc::would_deadlock, task_ran::no,
                "troupe: in this simulation, what is waited for does not happen within 24 hours"};
  }
  return true;
}

void virtual_loop::clear() {
  posted_.clear();
  timers_.clear();
  coroutines_->drop_rest();
  end_services();
}

}  // namespace troupe::detail
