// SPDX-License-Identifier: BSD-3-Clause
// The programs of hosted_test, which live as programs of users do:
//
//     hosted_victim output|terminal|limit METHOD [BYTES]
//
// output: leaves output in the buffers of its standard streams. terminal: has a terminal, which its
// tasks read from and set up. limit: no file may be larger than BYTES. Each writes what it found to
// standard output, a line each.
#include "troupe/pool.hpp"
#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/shared_memory.hpp"
#include "troupe/system.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace {

troupe::start_method method = troupe::start_method::forkserver;

int add(int a, int b) {
  return a + b;
}

/// All that starts processes.
void use_workers() {
  troupe::pool pool{{.workers = 2, .max_tasks_per_worker = 2, .start = method}};
  for (int i = 0; i < 5; ++i) {
    pool.apply(add, i, 1);
  }
  pool.close();
  pool.join();
  troupe::process one{troupe::process_options{.start = method}, [] {}};
  one.start();
  one.join();
}

void leave_output(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  if (method != troupe::start_method::spawn) {
    std::cout << "before the system\n";  // an executed process would come by here as well
  }
  const troupe::system system{argc, argv};
  std::cout << "line of cout\n";
  std::wcout << L"line of wcout\n";
  std::clog << "line of clog\n";
  std::printf("line of stdout\n");
  use_workers();
}

std::string in_words(int code) {
  return code == 0 ? "done" : std::string{::strerrorname_np(code)};
}
std::string read_terminal() {
  const int terminal = ::open("/dev/tty", O_RDWR | O_CLOEXEC);
  char one = 0;
  const int code = terminal < 0 || ::read(terminal, &one, 1) < 0 ? errno : 0;
  ::close(terminal);
  return in_words(code);
}
std::string set_terminal_up() {
  const int terminal = ::open("/dev/tty", O_RDWR | O_CLOEXEC);
  termios how{};
  const int code =
      terminal < 0 || ::tcgetattr(terminal, &how) != 0 || ::tcsetattr(terminal, TCSANOW, &how) != 0
          ? errno
          : 0;
  ::close(terminal);
  return in_words(code);
}

void have_a_terminal(int argc, char** argv) {
  if (::getsid(0) == ::getpid()) {  // not so in a worker that is executed, which comes by here too
    const int leader = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (leader < 0 || ::grantpt(leader) != 0 || ::unlockpt(leader) != 0 ||
        ::open(::ptsname(leader), O_RDWR | O_CLOEXEC) < 0) {
      std::puts("no terminal");
      return;
    }
  }
  const troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 1, .start = method}};
  std::printf("read: %s\n", pool.apply(read_terminal).c_str());
  std::printf("set up: %s\n", pool.apply(set_terminal_up).c_str());
}

void try_it(const char* what, const std::function<void()>& function) {
  try {
    function();
    std::printf("%s: done\n", what);
  } catch (const troupe::error& refused) {
    std::printf("%s: %s: %s\n", what, std::string{troupe::to_string(refused.code())}.c_str(),
                refused.what());
  } catch (const std::exception& refused) {
    std::printf("%s: %s\n", what, refused.what());  // of the table of fail-points
  }
}

void have_a_limit(int argc, char** argv, rlim_t bytes) {
  const rlimit limit{bytes, bytes};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  try_it("all", [&] {
    const troupe::system system{argc, argv};
    try_it("memory", [] { const troupe::shared_memory made{8 << 20}; });
    try_it("named memory", [] {
      const std::string name = "test-of-troupe-hosted-" + std::to_string(::getpid());
      const troupe::shared_memory made{8 << 20, {.name = name}};
    });
    try_it("queue", [] {
      troupe::queue<std::string> q;
      for (int i = 0; i < 100; ++i) {
        q.put(std::string(100'000, 'x'));
      }
    });
    try_it("pool", [] {
      troupe::pool pool{{.workers = 1, .start = method}};
      std::printf("small: %d\n", pool.apply(add, 1, 1));
      try_it("result", [&] { pool.apply([] { return std::string(8 << 20, 'x'); }); });
      std::printf("small again: %d\n", pool.apply(add, 1, 2));
    });
  });
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  for (const auto one : {troupe::start_method::forkserver, troupe::start_method::spawn,
                         troupe::start_method::fork}) {
    if (argc > 2 && troupe::to_string(one) == argv[2]) {
      method = one;
    }
  }
  if (what == "output") {
    leave_output(argc, argv);
  } else if (what == "terminal") {
    have_a_terminal(argc, argv);
  } else if (what == "limit" && argc > 3) {
    have_a_limit(argc, argv, static_cast<rlim_t>(std::atoll(argv[3])));
  } else {
    std::puts("which program?");
    return 2;
  }
}
