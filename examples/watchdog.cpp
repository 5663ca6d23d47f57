// SPDX-License-Identifier: BSD-3-Clause
//
// A service that hangs in its first run: its watchdog misses the heartbeats, ends it, and its
// supervisor starts it again.
//
// Prints:
//   run 1 is ready
//   run 1 ended: missed_heartbeat
//   run 2 is well

#include "troupe/supervisor.hpp"
#include "troupe/system.hpp"
#include "troupe/this_service.hpp"

#include <chrono>
#include <iostream>
#include <thread>

using namespace std::chrono_literals;

void serve() {
  troupe::this_service::ready();
  const bool hangs = troupe::this_service::incarnation() == 1;
  while (troupe::this_service::sleep_for(10ms)) {
    if (!hangs) {
      troupe::this_service::heartbeat();
    }
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::supervisor tree;
  tree.add(troupe::child_service("feed", serve, {.watchdog = 500ms}));
  tree.start();
  std::cout << "run " << tree.child("feed").incarnation << " is ready\n";
  while (tree.child("feed").incarnation == 1 || !tree.child("feed").ready) {
    std::this_thread::sleep_for(10ms);
  }
  std::cout << "run 1 ended: " << to_string(tree.child("feed").last_death->cause) << '\n'
            << "run " << tree.child("feed").incarnation << " is well\n";
}
