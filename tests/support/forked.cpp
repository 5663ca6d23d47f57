// SPDX-License-Identifier: BSD-3-Clause
#include "support/forked.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <stdexcept>

namespace troupe::test {

forked::forked(const std::function<int()>& body) : pid_{::fork()} {
  if (pid_ < 0) {
    throw std::runtime_error{"cannot fork"};
  }
  if (pid_ == 0) {
    int code = 100;
    try {
      code = body();
    } catch (const std::exception& thrown) {
      std::fprintf(stderr, "a forked child threw: %s\n", thrown.what());
    }
    ::_exit(code);
  }
}

forked::~forked() {
  if (pid_ > 0 && status_ < 0) {
    kill();
  }
}

int forked::wait() {
  if (status_ < 0) {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  return status_;
}

int forked::kill() {
  signal(SIGKILL);
  return wait();
}

void forked::signal(int number) const {
  ::kill(pid_, number);
}

void forked::kill_without_reaping() {
  signal(SIGKILL);
  siginfo_t info{};
  while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
  }
}

int sleep_until_killed() {
  for (;;) {
    ::pause();
  }
}

signpost::signpost() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error{"cannot make a pipe"};
  }
  read_ = ends[0];
  write_ = ends[1];
}

signpost::~signpost() {
  ::close(read_);
  ::close(write_);
}

void signpost::reached() const noexcept {
  const char byte = 1;
  while (::write(write_, &byte, 1) < 0 && errno == EINTR) {
  }
}

void signpost::await() const {
  char byte = 0;
  while (::read(read_, &byte, 1) < 0 && errno == EINTR) {
  }
}

}  // namespace troupe::test
