// SPDX-License-Identifier: BSD-3-Clause
//
// Processes have names, given or counted, and know their own and their parent's.
//
// Prints:
//   process-1, started by main
//   worker, started by main
//   worker:1, started by worker

#include "troupe/process.hpp"
#include "troupe/system.hpp"

#include <iostream>

void introduce() {
  std::cout << troupe::this_process::name() << ", started by "
            << troupe::this_process::parent()->name() << std::endl;
}

void introduce_with_child() {
  introduce();
  troupe::process child{introduce};
  child.start();
  child.join();
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::process unnamed{introduce};
  troupe::process named{{.name = "worker"}, introduce_with_child};
  for (troupe::process* p : {&unnamed, &named}) {
    p->start();
    p->join();
  }
}
