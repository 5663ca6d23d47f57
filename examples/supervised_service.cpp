// SPDX-License-Identifier: BSD-3-Clause
//
// A service that reads orders from a queue. One of them ends its process; its supervisor starts the
// next run, which goes on with the orders that are left. When the tree stops, the service is asked,
// and says good-bye.
//
// Prints:
//   run 1: order 1
//   run 1: order 2
//   run 2: order 4
//   run 2: order 5
//   run 2: good-bye

#include "troupe/queue.hpp"
#include "troupe/supervisor.hpp"
#include "troupe/system.hpp"
#include "troupe/this_service.hpp"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>

using namespace std::chrono_literals;

void serve(troupe::queue<int> orders, troupe::queue<std::string> said) {
  const std::string run = "run " + std::to_string(troupe::this_service::incarnation()) + ": ";
  troupe::this_service::ready();
  while (!troupe::this_service::stop_token().stop_requested()) {
    if (const std::optional<int> order = orders.get_for(10ms)) {
      if (*order == 3) {
        std::abort();  // a bug
      }
      said.put(run + "order " + std::to_string(*order));
    }
  }
  said.put(run + "good-bye");
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::queue<int> orders;
  troupe::queue<std::string> said;
  troupe::supervisor tree;
  tree.add(troupe::child_service("orders", troupe::call(serve, orders, said)));
  tree.start();
  for (int order = 1; order <= 5; ++order) {
    orders.put(order);
  }
  for (int i = 0; i < 4; ++i) {
    std::cout << said.get() << '\n';
  }
  tree.stop();
  std::cout << said.get() << '\n';
}
