// SPDX-License-Identifier: BSD-3-Clause
//
// Tasks with priorities on one worker: higher ones first, first come first served within one.
//
// Prints:
//   urgent 1, urgent 2, normal 1, normal 2, idle 1, idle 2

#include "troupe/troupe.hpp"

#include <chrono>
#include <iostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

std::string same(std::string name) {
  return name;
}
void occupy() {
  while (!troupe::this_task::stop_token().stop_requested()) {
    std::this_thread::sleep_for(1ms);
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 1}};
  // While this one runs, the others queue up.
  auto first = pool.apply_async(occupy);
  while (!first.running()) {
    std::this_thread::yield();
  }
  std::string order;
  const std::vector<std::pair<std::string, int>> jobs{{"idle 1", -5},  {"normal 1", 0},
                                                      {"urgent 1", 9}, {"urgent 2", 9},
                                                      {"normal 2", 0}, {"idle 2", -5}};
  for (const auto& [name, priority] : jobs) {
    pool.with({.priority = priority})
        .apply_async(same, name)
        .on_result([&](const std::string& done) { order += (order.empty() ? "" : ", ") + done; });
  }
  first.cancel();  // it is running, so this asks it to stop
  pool.close();
  pool.join();  // waits for the callbacks too
  std::cout << order << '\n';
}
