// SPDX-License-Identifier: BSD-3-Clause
//
// What is left of a task that ends its worker: everything a person needs to find out why.
//
// Prints (numbers differ; the backtrace that follows it names the functions and lines):
//   worker_lost: task #1 of pool 'pool': worker 2 (pid 4712) died of SIGABRT (signal 6), SI_TKILL:
//                raised by the process itself while running it (attempt 2)
//     task        #1, attempt 2, at stage 'run'; did it run: maybe
//     process     pid 4712 on examplehost
//     end         SIGABRT (signal 6)
//     cause       SI_TKILL: raised by the process itself
//     resources   at most 5832 KiB resident, 0.002 s user, 0.001 s system
//     attempts that ended with their worker:
//       1: pid 4711: exit code 3
//       2: pid 4712: SIGABRT (signal 6), SI_TKILL: raised by the process itself
//     last lines on its stderr:
//       | frobnicating the input
//       | cannot frobnicate \x07

#include "troupe/pool.hpp"

#include <cstdlib>
#include <iostream>
#include <string>

void frobnicate() {
  std::cerr << "frobnicating the input\n";
  if (troupe::this_task::attempt() == 1) {
    std::exit(3);
  }
  std::cerr << "cannot frobnicate \a\n";
  std::abort();
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 1}};
  try {
    pool.with({.retries = 1}).apply(frobnicate);
  } catch (const troupe::error& error) {
    const std::string report = error.report();
    std::cout << report.substr(0, report.find("\n  backtrace")) << '\n';
  }
}
