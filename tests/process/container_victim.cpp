// SPDX-License-Identifier: BSD-3-Clause
// The program of container_test: PID 1 of its namespace, whose exit code is its tree's outcome.
#include "troupe/error.hpp"
#include "troupe/log.hpp"
#include "troupe/supervised_pool.hpp"
#include "troupe/system.hpp"
#include "troupe/this_service.hpp"

#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <string>

namespace {

/// Signals every process of the namespace but itself, as a service manager does.
void ask_all_to_stop() {
  troupe::this_service::ready();
  ::kill(-1, SIGTERM);  // not to PID 1
  ::kill(1, SIGTERM);
  while (troupe::this_service::sleep_for(std::chrono::hours{1})) {
  }
}
void fail() {
  ::_exit(3);
}

}  // namespace

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::set_log_hook([](troupe::log_level, std::string_view) {});
  if (::getpid() != 1) {
    std::cerr << "not PID 1\n";
    return 99;
  }
  const std::string what = argc > 1 ? argv[1] : "";
  system.stop_on_signals();
  troupe::supervisor tree{{.limits = {.intensity = 0}}};
  tree.add(troupe::child_pool("pool", {.workers = 2}));
  if (what == "stopped") {
    tree.add(troupe::child_service("feed", troupe::call(ask_all_to_stop)));
  } else {
    tree.add(
        troupe::child_service("feed", troupe::call(fail), {.ready = troupe::readiness::at_start}));
  }
  try {
    tree.start();
  } catch (const troupe::error&) {
    // The outcome tells.
  }
  return tree.wait().exit_code();
}
