// SPDX-License-Identifier: BSD-3-Clause
// The program of role_test: takes its role, or tries to execute itself, and tells what happened.
//
//     role_victim [execute]
#include "troupe/error.hpp"

#include "os/sys.hpp"
#include "process/child.hpp"
#include "process/launcher.hpp"

#include <sys/auxv.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <utility>

namespace {

[[noreturn]] void work(troupe::detail::worker_boot&& boot) {
  std::printf("worker %d\n", static_cast<int>(boot.id));
  std::fflush(stdout);
  ::_exit(0);
}

void execute(const troupe::detail::program& self) {
  namespace detail = troupe::detail;
  auto [here, there] = troupe::sys::socket_pair();
  detail::worker_boot boot;
  boot.ends.socket = std::move(there);
  errno = 0;
  const pid_t pid = detail::child::start_executed(std::move(boot), self, ::getpid());
  std::printf("worker: %s\n", pid < 0 && errno == EPERM ? "refused" : "executed");
  const std::jthread second{[](const std::stop_token& end) {
    while (!end.stop_requested()) {
      ::usleep(1000);
    }
  }};
  try {
    const detail::launcher late{self};
    std::puts("server: executed");
  } catch (const troupe::error& refused) {
    std::printf("server: %s\n", refused.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  troupe::detail::program self;
  self.arguments.assign(argv, argv + argc);
  self.entry = &work;
  try {
    troupe::detail::take_role(self);
  } catch (const troupe::error& refused) {
    std::printf("refused: %s\n", refused.what());
    return 3;
  }
  std::printf("the program%s, %s the variable\n",
              ::getauxval(AT_SECURE) != 0 ? " with other rights" : "",
              std::getenv("TROUPE_ROLE") == nullptr ? "without" : "with");
  if (argc > 1 && std::string_view{argv[1]} == "execute") {
    execute(self);
  }
}
