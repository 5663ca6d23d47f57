// SPDX-License-Identifier: BSD-3-Clause
//
// The three strategies side by side: of the children a, b and c, b is killed. The number behind each
// name says how often that child was started.
//
// Prints:
//   one_for_one:  a 1, b 2, c 1
//   one_for_all:  a 2, b 2, c 2
//   rest_for_one: a 1, b 2, c 2

#include "troupe/supervisor.hpp"
#include "troupe/system.hpp"
#include "troupe/this_service.hpp"

#include <signal.h>

#include <chrono>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

void serve() {
  troupe::this_service::ready();
  while (troupe::this_service::sleep_for(1h)) {
  }
}

std::string after_a_death(troupe::strategy how) {
  troupe::supervisor tree{{.strategy = how}};
  for (const char* name : {"a", "b", "c"}) {
    tree.add(troupe::child_service(name, serve));
  }
  tree.start();
  ::kill(static_cast<pid_t>(tree.child("b").pid), SIGKILL);
  while (tree.child("b").incarnation < 2 || tree.count().running < 3) {
    std::this_thread::sleep_for(1ms);
  }
  std::string text;
  for (const troupe::child_status& one : tree.children()) {
    text += (text.empty() ? "" : ", ") + one.name + " " + std::to_string(one.incarnation);
  }
  return text;
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  std::cout << "one_for_one:  " << after_a_death(troupe::strategy::one_for_one) << '\n'
            << "one_for_all:  " << after_a_death(troupe::strategy::one_for_all) << '\n'
            << "rest_for_one: " << after_a_death(troupe::strategy::rest_for_one) << '\n';
}
