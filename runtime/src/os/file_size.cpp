// SPDX-License-Identifier: BSD-3-Clause
#include "os/file_size.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace troupe::sys {
namespace {

/// Calls `function` while this thread blocks SIGXFSZ, and takes the one that it gets by it: the
/// kernel sends that to the thread.
template <class Function>
int without_sigxfsz(Function function) noexcept {
  sigset_t one;
  sigset_t before;
  sigset_t pending;
  sigemptyset(&one);
  sigaddset(&one, SIGXFSZ);
  ::pthread_sigmask(SIG_BLOCK, &one, &before);
  ::sigpending(&pending);
  const int code = function();
  if (code == EFBIG && sigismember(&pending, SIGXFSZ) == 0) {
    const timespec none{};
    while (::sigtimedwait(&one, nullptr, &none) < 0 && errno == EINTR) {
    }
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return code;
}

}  // namespace

int resize(int memory, std::size_t bytes) noexcept {
  return without_sigxfsz(
      [&] { return ::ftruncate(memory, static_cast<off_t>(bytes)) == 0 ? 0 : errno; });
}

int allocate(int memory, std::size_t from, std::size_t bytes) noexcept {
  return without_sigxfsz([&] {
    int code = 0;
    do {
      code = ::posix_fallocate(memory, static_cast<off_t>(from), static_cast<off_t>(bytes));
    } while (code == EINTR);
    return code;
  });
}

}  // namespace troupe::sys
