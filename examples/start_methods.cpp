// SPDX-License-Identifier: BSD-3-Clause
//
// The three ways to start a process: its identity, and its parent for the operating system.
//
// Prints (with other numbers):
//   this program is 100
//   forkserver: 103, its parent 101 is the fork server
//   spawn: 104, its parent 101 is the fork server
//   fork: 105, its parent 100 is the program
//   started by the program, says each of them: 1 1 1

#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/system.hpp"

#include <unistd.h>

#include <cstdint>
#include <iostream>
#include <string>
#include <tuple>

using report = std::tuple<std::int64_t, std::int64_t, std::int64_t>;

void tell(troupe::queue<report> to) {
  to.put({troupe::this_process::pid(), ::getppid(), troupe::this_process::parent()->pid()});
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  std::cout << "this program is " << troupe::this_process::pid() << '\n';
  std::string started_here;
  for (const auto method : {troupe::start_method::forkserver, troupe::start_method::spawn,
                            troupe::start_method::fork}) {
    troupe::queue<report> reports;
    troupe::process p{{.start = method}, tell, reports};
    p.start();
    const auto [pid, parent, starter] = reports.get();
    p.join();
    const bool is_program = parent == troupe::this_process::pid();
    std::cout << to_string(method) << ": " << pid << ", its parent " << parent << " is the "
              << (is_program ? "program" : "fork server") << '\n';
    started_here += starter == troupe::this_process::pid() ? " 1" : " 0";
  }
  std::cout << "started by the program, says each of them:" << started_here << '\n';
}
