// SPDX-License-Identifier: BSD-3-Clause
#include "trees/children/tree_loop.hpp"

#include "os/library_thread.hpp"
#include "trees/service/service_threads.hpp"

#include <random>

namespace troupe::detail {

tree_loop::tree_loop() = default;
tree_loop::~tree_loop() = default;

std::uint64_t tree_loop::seed() {
  return std::random_device{}();
}

service_threads& tree_loop::services() {
  if (!services_) {
    services_ = make_services();
  }
  return *services_;
}

std::unique_ptr<service_threads> tree_loop::make_services() {
  return std::make_unique<service_threads>();
}

void tree_loop::end_services() noexcept {
  services_.reset();
}

std::shared_ptr<tree_thread> tree_thread::start() {
  std::shared_ptr<tree_thread> made{new tree_thread};
  start_thread("troupe-tree", [made] { made->run(); });
  return made;
}

tree_thread::~tree_thread() = default;

bool tree_thread::post(std::function<void()> function) {
  const mutex_guard lock{mutex_};
  if (ended_) {
    return false;
  }
  posted_.push_back(std::move(function));
  changed_.notify_all();
  return true;
}

steady_time tree_thread::now() const {
  const mutex_guard lock{mutex_};
  return pauses_.program_time(std::chrono::steady_clock::now());
}

std::uint64_t tree_thread::call_at(steady_time when, std::function<void()> function) {
  const mutex_guard lock{mutex_};
  const std::uint64_t timer = ++last_timer_;
  timers_.emplace(std::pair{when, timer}, std::move(function));
  timer_times_.emplace(timer, when);
  changed_.notify_all();
  return timer;
}

void tree_thread::cancel(std::uint64_t timer) {
  std::function<void()> dropped;  // what it holds is not destroyed under the lock
  const mutex_guard lock{mutex_};
  const auto found = timer_times_.find(timer);
  if (found != timer_times_.end()) {
    const auto at = timers_.find({found->second, timer});
    dropped = std::move(at->second);
    timers_.erase(at);
    timer_times_.erase(found);
  }
}

bool tree_thread::is_here() const {
  const mutex_guard lock{mutex_};
  return thread_ == std::this_thread::get_id();
}

void tree_thread::end() {
  mutex_lock lock{mutex_};
  ending_ = true;
  changed_.notify_all();
  while (!ended_ && thread_ != std::this_thread::get_id()) {
    changed_.wait(lock);
  }
}

void tree_thread::run() {
  mutex_lock lock{mutex_};
  thread_ = std::this_thread::get_id();
  for (;;) {
    if (!posted_.empty()) {
      std::vector<std::function<void()>> now;
      now.swap(posted_);
      lock.unlock();
      for (std::function<void()>& function : now) {
        function();
        function = nullptr;
      }
      lock.lock();
      continue;
    }
    if (ending_) {
      break;
    }
    if (timers_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto first = timers_.begin();
    const steady_time real = std::chrono::steady_clock::now();
    if (pauses_.program_time(real) >= first->first.first) {
      const std::function<void()> function = std::move(first->second);
      timer_times_.erase(first->first.second);
      timers_.erase(first);
      lock.unlock();
      function();
      lock.lock();
      continue;
    }
    const steady_time due = pauses_.real_time(first->first.first);
    changed_.wait_until(lock, due);
    pauses_.woke(due, std::chrono::steady_clock::now());
  }
  std::map<std::pair<steady_time, std::uint64_t>, std::function<void()>> dropped;
  dropped.swap(timers_);
  timer_times_.clear();
  lock.unlock();
  dropped.clear();
  end_services();
  lock.lock();
  ended_ = true;
  thread_ = {};
  changed_.notify_all();
}

}  // namespace troupe::detail
