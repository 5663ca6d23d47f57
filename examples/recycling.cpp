// SPDX-License-Identifier: BSD-3-Clause
//
// Workers that are replaced after three tasks: what tasks leak cannot pile up.
//
// Prints the process of every task, and then this: those that are full did three tasks each, and of
// the others there are never more than two, so ten tasks take four processes.
//   10 tasks ran in 4 processes
//   none ran more than 3 tasks

#include "troupe/pool.hpp"

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <map>
#include <ranges>

std::int64_t where(int /*task*/) {
  return troupe::this_process::pid();
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 2, .max_tasks_per_worker = 3}};
  std::map<std::int64_t, int> tasks_of;
  int task = 0;
  for (const std::int64_t pid : pool.map(where, std::views::iota(0, 10), {.chunk = 1})) {
    std::cout << "task " << task++ << ": process " << pid << '\n';
    ++tasks_of[pid];
  }
  const int most = std::ranges::max(tasks_of | std::views::values);
  std::cout << task << " tasks ran in " << tasks_of.size() << " processes\n"
            << (most <= 3 ? "none" : "one") << " ran more than 3 tasks\n";
}
