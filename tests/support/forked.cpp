// SPDX-License-Identifier: BSD-3-Clause
#include "support/forked.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <utility>

namespace troupe::test {

forked::forked(const std::function<int()>& body) : pid_{::fork()} {
  if (pid_ < 0) {
    throw std::runtime_error{"fork failed"};
  }
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    int code = 99;
    try {
      code = body();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "a forked child threw: %s\n", e.what());
    }
    ::_exit(code);
  }
}

forked::forked(forked&& other) noexcept : pid_{std::exchange(other.pid_, -1)} {}

forked::~forked() {
  kill();
}

int forked::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) {
      return -1000;
    }
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void forked::signal(int number) const {
  if (pid_ > 0) {
    ::kill(pid_, number);
  }
}

void forked::kill() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    wait();
  }
}

}  // namespace troupe::test
