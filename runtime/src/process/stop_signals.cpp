// SPDX-License-Identifier: BSD-3-Clause
#include "process/stop_signals.hpp"

#include "troupe/error.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace troupe::detail {
namespace {

constexpr std::array watched{SIGINT, SIGTERM};

/// What the handler may touch.
std::atomic<int> handler_pipe{-1};
/// What was there before, for `restore`; -1 in `handler_pipe` says that nothing is installed.
std::array<struct sigaction, watched.size()> before;
/// The process whose signals these are.
std::atomic<pid_t> owner{0};

/// In a process that the program forked: the pipe's reader is its parent. The signal does what it
/// would do without the library.
void pass_on(int signal) noexcept {
  for (std::size_t i = 0; i < watched.size(); ++i) {
    if (watched[i] == signal) {
      ::sigaction(signal, &before[i], nullptr);
      ::raise(signal);  // comes when the handler has returned
    }
  }
}

void on_signal(int signal) {
  const int saved = errno;
  const auto byte = static_cast<unsigned char>(signal);
  const int to = handler_pipe.load();
  if (owner.load() != ::getpid()) {
    pass_on(signal);
  } else if (to >= 0) {
    // If the pipe is full, its reader already has many signals to count.
    static_cast<void>(!::write(to, &byte, 1));
  }
  errno = saved;
}

}  // namespace

stop_signals::stop_signals(reactor& loop, std::function<void(int, int)> arrived)
    : arrived_{std::move(arrived)} {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw error{errc::resource_exhausted, task_ran::no,
                std::string{"troupe: no pipe for signals: "} + std::strerror(errno)};
  }
  reading_ = descriptor{ends[0]};
  writing_ = descriptor{ends[1]};
  if (!reading_ || !writing_) {
    throw error{errc::resource_exhausted, task_ran::no,
                std::string{"troupe: no pipe for signals: "} + std::strerror(errno)};
  }
  owner = ::getpid();
  handler_pipe = writing_.number();
  loop.watch(reading_.number(), [this] { read(); });
  struct sigaction action{};
  action.sa_handler = &on_signal;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  for (std::size_t i = 0; i < watched.size(); ++i) {
    ::sigaction(watched[i], &action, &before[i]);
  }
}

stop_signals::~stop_signals() {
  restore();
}

void stop_signals::restore() noexcept {
  if (handler_pipe.exchange(-1) < 0) {
    return;
  }
  for (std::size_t i = 0; i < watched.size(); ++i) {
    struct sigaction now{};
    // A handler that the program installed later stays.
    if (::sigaction(watched[i], nullptr, &now) == 0 && now.sa_handler == &on_signal) {
      ::sigaction(watched[i], &before[i], nullptr);
    }
  }
}

void stop_signals::read() {
  unsigned char signal = 0;
  while (::read(reading_.number(), &signal, 1) == 1) {
    ++count_;
    if (count_ == 2) {
      restore();
    }
    arrived_(signal, count_);
  }
}

}  // namespace troupe::detail
