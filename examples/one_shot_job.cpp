// SPDX-License-Identifier: BSD-3-Clause
//
// A job that has to be done before a service begins. It fails once and is tried again; when it has
// ended with success it is not started any more, and the service begins.
//
// Prints:
//   migrate: try 1
//   migrate: try 2
//   serve: the data is there
//   migrate is stopped, it ended: finished

#include "troupe/queue.hpp"
#include "troupe/supervisor.hpp"
#include "troupe/system.hpp"
#include "troupe/this_service.hpp"

#include <unistd.h>

#include <chrono>
#include <iostream>
#include <string>

using namespace std::chrono_literals;

void migrate(troupe::queue<std::string> said) {
  const std::uint64_t run = troupe::this_service::incarnation();
  said.put("migrate: try " + std::to_string(run));
  if (run == 1) {
    ::_exit(1);
  }
}
void serve(troupe::queue<std::string> said) {
  said.put("serve: the data is there");
  troupe::this_service::ready();
  while (troupe::this_service::sleep_for(1h)) {
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::queue<std::string> said;
  troupe::supervisor tree;
  tree.add(troupe::child_service("migrate", troupe::call(migrate, said),
                                 {.restart = troupe::restart::transient}));
  tree.add(troupe::child_service("serve", troupe::call(serve, said), {.after = {"migrate"}}));
  tree.start();
  for (int i = 0; i < 3; ++i) {
    std::cout << said.get() << '\n';
  }
  const troupe::child_status job = tree.child("migrate");
  std::cout << "migrate is " << to_string(job.phase)
            << ", it ended: " << to_string(job.last_death->cause) << '\n';
}
