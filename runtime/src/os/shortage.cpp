// SPDX-License-Identifier: BSD-3-Clause
#include "os/shortage.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace troupe::detail {
namespace {

std::string descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return "RLIMIT_NOFILE";
  }
  return "RLIMIT_NOFILE (" + std::to_string(limit.rlim_cur) + ")";
}

}  // namespace

std::string shortage_text(int number) {
  std::array<char, 128> buffer{};
  const char* const words = ::strerror_r(number, buffer.data(), buffer.size());
  std::string text = std::string{words} + " (errno " + std::to_string(number) + ")";
  switch (number) {
    case EMFILE:
      text += ": process " + std::to_string(::getpid()) + " has as many descriptors as " +
              descriptor_limit() + " allows: close some, or raise it with ulimit -n";
      break;
    case EFBIG:
      text +=
          ": shared memory is a file to the kernel, and RLIMIT_FSIZE allows none of that size: "
          "raise it with ulimit -f";
      break;
    case ENFILE:
      text += ": the system has as many open files as fs.file-max allows";
      break;
    case ETOOMANYREFS:
      text += ": as many descriptors of this user are on their way between processes as " +
              descriptor_limit() +
              " allows: take out what waits in queues and connections, or raise it with ulimit -n";
      break;
    case ETIMEDOUT:  // of a launch, see launcher
      text += ": the fork server is stopped: let it go on with SIGCONT";
      break;
    default:
      break;
  }
  return text;
}

error shortage(const std::string& what, int number, task_ran ran) {
  return {errc::resource_exhausted, ran, what + ": " + shortage_text(number)};
}

}  // namespace troupe::detail
