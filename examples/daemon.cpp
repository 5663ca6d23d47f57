// SPDX-License-Identifier: BSD-3-Clause
//
// When main ends, the program waits for its processes; daemons are ended instead.
//
// Prints:
//   main ends
//   the other one has finished
//
// The daemon would print something after an hour.

#include "troupe/event.hpp"
#include "troupe/process.hpp"
#include "troupe/system.hpp"

#include <chrono>
#include <iostream>
#include <thread>

using namespace std::chrono_literals;

void serve() {
  std::this_thread::sleep_for(1h);
  std::cout << "the daemon has finished\n";
}

void work(troupe::event main_ends) {
  main_ends.wait();
  std::cout << "the other one has finished\n";
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::event main_ends;
  troupe::process daemon{{.name = "server", .daemon = true}, serve};
  troupe::process other{work, main_ends};
  daemon.start();
  other.start();
  std::cout << "main ends" << std::endl;
  main_ends.set();
}
