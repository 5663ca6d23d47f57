// SPDX-License-Identifier: BSD-3-Clause
#include "os/leave.hpp"

#include "troupe/detail/descriptor.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

#if defined(__GLIBCXX__)
#include <ext/stdio_filebuf.h>
#endif

// Of the coverage runtimes; not there in other programs.
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): these names are given
[[gnu::weak]] void __gcov_dump();               ///< of LLVM's gcov, and of GCC's if it is used
[[gnu::weak]] void __gcov_exit();               ///< of GCC's; does nothing the second time
[[gnu::weak]] int __llvm_profile_write_file();  ///< of -fprofile-instr-generate
// NOLINTEND(bugprone-reserved-identifier)
}

namespace troupe::detail {
namespace {

void (*first_in_exit)() = nullptr;

void leave_as_handler(int status, void* /*unused*/) {
  if (first_in_exit != nullptr) {
    first_in_exit();
  }
  std::fflush(nullptr);  // as exit does
  leave(status);
}

void write_coverage() {
  if (__gcov_dump != nullptr) {
    __gcov_dump();
  } else if (__gcov_exit != nullptr) {
    __gcov_exit();
  }
  if (__llvm_profile_write_file != nullptr) {
    __llvm_profile_write_file();
  }
}

#if defined(__GLIBCXX__)
/// Whether the stream has a buffer of its own: it has after std::ios::sync_with_stdio(false).
template <class Char>
bool keeps_output(const std::basic_ostream<Char>& stream) {
  return dynamic_cast<const __gnu_cxx::stdio_filebuf<Char>*>(stream.rdbuf()) != nullptr;
}
#endif

}  // namespace

void flush_standard_streams() {
  std::cout.flush();
  std::cerr.flush();
  std::clog.flush();
  std::wcout.flush();
  std::wcerr.flush();
  std::wclog.flush();
}

void drop_copied_output() {
#if defined(__GLIBCXX__)
  if (!keeps_output(std::cout) && !keeps_output(std::clog) && !keeps_output(std::wcout) &&
      !keeps_output(std::wclog)) {
    return;
  }
  const descriptor nowhere{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  const descriptor out{::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)};
  const descriptor err{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)};
  if (!nowhere || !out || !err) {
    return;
  }
  ::dup2(nowhere.number(), STDOUT_FILENO);
  ::dup2(nowhere.number(), STDERR_FILENO);
  flush_standard_streams();
  ::dup2(out.number(), STDOUT_FILENO);
  ::dup2(err.number(), STDERR_FILENO);
#endif
}

void leave(int status) noexcept {
  flush_standard_streams();
  // Not those of tasks: a thread that waits for input holds the lock of its stream.
  std::fflush(stdout);
  std::fflush(stderr);
  write_coverage();
  ::_exit(status);
}

void leave_in_exit(void (*first)()) {
  first_in_exit = first;
  ::on_exit(&leave_as_handler, nullptr);
}

}  // namespace troupe::detail
