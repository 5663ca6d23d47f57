// SPDX-License-Identifier: BSD-3-Clause
//
// A process that would never end is ended, politely and not; the exit status tells which.
//
// Prints:
//   alive: 1, ended in time: 0
//   terminated: SIGTERM (signal 15), alive: 0
//   killed: SIGKILL (signal 9), alive: 0

#include "troupe/process.hpp"
#include "troupe/system.hpp"

#include <chrono>
#include <iostream>
#include <thread>

using namespace std::chrono_literals;

void sleep_for_ever() {
  for (;;) {
    std::this_thread::sleep_for(1h);
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::process one{sleep_for_ever};
  one.start();
  std::cout << "alive: " << one.is_alive() << ", ended in time: " << one.join_for(10ms) << '\n';
  one.terminate();
  one.join();
  std::cout << "terminated: " << troupe::to_string(*one.exit_status())
            << ", alive: " << one.is_alive() << '\n';

  troupe::process two{sleep_for_ever};
  two.start();
  two.kill();
  two.join();
  std::cout << "killed: " << troupe::to_string(*two.exit_status()) << ", alive: " << two.is_alive()
            << '\n';
}
