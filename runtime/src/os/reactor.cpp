// SPDX-License-Identifier: BSD-3-Clause
#include "os/reactor.hpp"

#include "os/library_thread.hpp"
#include "os/sys.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace troupe::detail {

reactor::reactor()
    : epoll_{::epoll_create1(EPOLL_CLOEXEC)}, wake_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake_.number();
  if (!epoll_ || !wake_ ||
      ::epoll_ctl(epoll_.number(), EPOLL_CTL_ADD, wake_.number(), &event) != 0) {
    sys::fail(errc::resource_exhausted, "cannot create the reactor's descriptors", errno);
  }
  const sys::blocked_signals no_handlers_on_our_thread;
  try {
    thread_ = std::thread{[this] { run(); }};
  } catch (const std::system_error& refused) {
    sys::fail(errc::resource_exhausted, "cannot start the reactor's thread",
              refused.code().value());
  }
}

reactor::~reactor() {
  stop_ = true;
  {
    const mutex_guard lock{mutex_};
    wake();
  }
  thread_.join();
}

bool reactor::in_thread() const noexcept {
  return std::this_thread::get_id() == thread_.get_id();
}

void reactor::wake() {
  if (!woken_) {
    woken_ = true;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_.number(), &one, sizeof one);
  }
}

void reactor::watch(int fd, watcher ready) {
  {
    const mutex_guard lock{mutex_};
    watchers_[fd] = std::make_shared<watcher>(std::move(ready));
  }
  epoll_event event{};
  // Edge-triggered: another thread may be the one that reads. Until it does, a level-triggered
  // watch would wake this thread again and again.
  event.events = EPOLLIN | EPOLLET;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.number(), EPOLL_CTL_ADD, fd, &event) != 0) {
    const int code = errno;
    forget(fd);
    sys::fail(errc::resource_exhausted, "cannot watch a descriptor", code);
  }
}

void reactor::forget(int fd) {
  ::epoll_ctl(epoll_.number(), EPOLL_CTL_DEL, fd, nullptr);
  const mutex_guard lock{mutex_};
  watchers_.erase(fd);
}

void reactor::post(std::function<void()> function) {
  const mutex_guard lock{mutex_};
  posted_.push_back(std::move(function));
  wake();
}

std::uint64_t reactor::call_at(time_point when, std::function<void()> function) {
  const mutex_guard lock{mutex_};
  const std::uint64_t id = next_timer_++;
  const bool first = timers_.empty() || when < timers_.begin()->first;
  timers_.emplace(when, timer{id, std::move(function)});
  if (first && !in_thread()) {
    wake();
  }
  return id;
}

namespace {
/// The process where the calling thread is a reactor's: a child forked there has none.
constinit thread_local pid_t reactor_of = 0;
}  // namespace

bool reactor::is_here() noexcept {
  return reactor_of == ::getpid();
}

void reactor::run() {
  reactor_of = ::getpid();
  note_library_thread();
  const no_user_code others_wait_for_this_thread;
  ::prctl(PR_SET_NAME, "troupe-reactor");
  ::prctl(PR_SET_TIMERSLACK, 1000UL);
  std::array<epoll_event, 64> events{};
  std::vector<std::function<void()>> todo;
  while (!stop_) {
    int timeout = -1;
    {
      const mutex_guard lock{mutex_};
      if (!posted_.empty()) {
        timeout = 0;
      } else if (!timers_.empty()) {
        const auto left = timers_.begin()->first - std::chrono::steady_clock::now();
        const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
        timeout = static_cast<int>(std::clamp<std::int64_t>(ms, 0, 1'000'000));
      }
    }
    const int count =
        ::epoll_wait(epoll_.number(), events.data(), static_cast<int>(events.size()), timeout);
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == wake_.number()) {
        std::uint64_t value = 0;
        [[maybe_unused]] const auto got = ::read(fd, &value, sizeof value);
        const mutex_guard lock{mutex_};
        woken_ = false;
        continue;
      }
      std::shared_ptr<watcher> ready;
      {
        const mutex_guard lock{mutex_};
        if (const auto found = watchers_.find(fd); found != watchers_.end()) {
          ready = found->second;
        }
      }
      if (ready) {
        (*ready)();
      }
    }
    {
      const mutex_guard lock{mutex_};
      todo.swap(posted_);
      const auto now = std::chrono::steady_clock::now();
      while (!timers_.empty() && timers_.begin()->first <= now) {
        todo.push_back(std::move(timers_.begin()->second.function));
        timers_.erase(timers_.begin());
      }
    }
    for (auto& function : todo) {
      function();
      function = nullptr;
    }
    todo.clear();
  }
}

}  // namespace troupe::detail
