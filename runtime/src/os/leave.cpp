// SPDX-License-Identifier: BSD-3-Clause
#include "os/leave.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

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

}  // namespace

void leave(int status) noexcept {
  std::cout.flush();
  std::cerr.flush();
  std::clog.flush();
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
