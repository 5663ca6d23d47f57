// SPDX-License-Identifier: BSD-3-Clause
// A program that is upgraded while it runs, for upgrade_test:
//
//     upgrade_victim METHOD LIBRARY [NEXT_PROGRAM NEXT_LIBRARY]
//
// The files of itself and of LIBRARY are replaced by the next ones, or removed if there are none.
// Then tasks crash and throw in them, and their backtraces are written, a line a call. Built twice:
// with UPGRADED it has functions that the other has not, in their place.
#include "troupe/pool.hpp"
#include "troupe/system.hpp"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

namespace troupe::test {

#ifdef UPGRADED
int never_ran(int number) {
  volatile int sum = number;
  for (int i = 0; i < 50; ++i) {
    sum = sum * 3 + i;
    sum = sum * 5 + i;
    sum = sum * 7 + i;
    sum = sum * 11 + i;
  }
  return sum;
}
#endif
int program_crash(int number) {
  std::abort();
  return number;
}
int program_throw(int number) {
  throw std::out_of_range{std::to_string(number)};
}
#ifdef UPGRADED
int never_ran_either(int number) {
  return never_ran(number) + never_ran(number + 1) + never_ran(number + 2) + never_ran(number + 3);
}
#endif

namespace {

using function = int (*)(int);

void say(const char* what, const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    std::printf("%s: %s\n", what, line.c_str());
  }
  std::fflush(stdout);
}

template <class F>
void say_end(const char* what, pool& p, F task) {
  try {
    p.apply(task, 1);
  } catch (const worker_lost& lost) {
    say(what, lost.backtrace());
  } catch (const remote_error_info& thrown) {
    say(what, thrown.backtrace());
  }
}

void run(start_method method, const std::string& library, const std::string& next_program,
         const std::string& next_library) {
  void* const handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    throw std::runtime_error{library};
  }
  const auto works = reinterpret_cast<function>(::dlsym(handle, "library_works"));
  const auto crash = reinterpret_cast<function>(::dlsym(handle, "library_crash"));
  pool p{{.workers = 1, .start = method}};
  p.apply(works, 1);  // now the worker has the library as well
  const auto program = std::filesystem::read_symlink("/proc/self/exe");
  if (next_program.empty()) {
    std::filesystem::remove(program);
    std::filesystem::remove(library);
  } else {
    std::filesystem::rename(next_program, program);
    std::filesystem::rename(next_library, library);
  }
  say_end("library", p, crash);
  say_end("throw", p, program_throw);
  say_end("program", p, program_crash);
  say_end("throw", p, program_throw);
}

}  // namespace
}  // namespace troupe::test

int main(int argc, char** argv) {
  const troupe::system system{argc, argv};
  const std::string_view method = argv[1];
  troupe::test::run(method == "fork"    ? troupe::start_method::fork
                    : method == "spawn" ? troupe::start_method::spawn
                                        : troupe::start_method::forkserver,
                    argv[2], argc > 4 ? argv[3] : "", argc > 4 ? argv[4] : "");
}
