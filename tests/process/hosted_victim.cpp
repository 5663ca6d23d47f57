// SPDX-License-Identifier: BSD-3-Clause
// The programs of hosted_test, which live as programs of users do:
//
//     hosted_victim output METHOD
//
// output: leaves output in the buffers of its standard streams.
#include "troupe/pool.hpp"
#include "troupe/process.hpp"
#include "troupe/system.hpp"

#include <signal.h>
#include <stdlib.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace {

troupe::start_method method = troupe::start_method::forkserver;

int add(int a, int b) {
  return a + b;
}

/// All that starts processes.
void use_workers() {
  troupe::pool pool{{.workers = 2, .max_tasks_per_worker = 2, .start = method}};
  for (int i = 0; i < 5; ++i) {
    pool.apply(add, i, 1);
  }
  pool.close();
  pool.join();
  troupe::process one{troupe::process_options{.start = method}, [] {}};
  one.start();
  one.join();
}

void leave_output(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  if (method != troupe::start_method::spawn) {
    std::cout << "before the system\n";  // an executed process would come by here as well
  }
  const troupe::system system{argc, argv};
  std::cout << "line of cout\n";
  std::wcout << L"line of wcout\n";
  std::clog << "line of clog\n";
  std::printf("line of stdout\n");
  use_workers();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  for (const auto one : {troupe::start_method::forkserver, troupe::start_method::spawn,
                         troupe::start_method::fork}) {
    if (argc > 2 && troupe::to_string(one) == argv[2]) {
      method = one;
    }
  }
  if (what == "output") {
    leave_output(argc, argv);
  } else {
    std::puts("which program?");
    return 2;
  }
}
