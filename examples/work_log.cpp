// SPDX-License-Identifier: BSD-3-Clause
//
// Four jobs of different length on two workers: results are taken in the order of finishing.
//
// A and B begin; B ends after 0.2 s, C follows it until 0.3 s, then D; A ends at 0.5 s, D at 0.6 s.
// Prints (the test allows for a busy machine that swaps the last two, which are 0.1 s apart):
//   Process B waiting 0.2 seconds
//   Process B Finished.
//   Process C waiting 0.1 seconds
//   Process C Finished.
//   Process A waiting 0.5 seconds
//   Process A Finished.
//   Process D waiting 0.3 seconds
//   Process D Finished.

#include "troupe/pool.hpp"

#include <chrono>
#include <iostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using work_item = std::pair<std::string, int>;

// What a worker would print itself comes in any order: lines of one job stay together in its
// result.
std::string work_log(const work_item& item) {
  const auto& [name, tenths] = item;
  std::string log = "Process " + name + " waiting 0." + std::to_string(tenths) + " seconds\n";
  std::this_thread::sleep_for(std::chrono::milliseconds{100} * tenths);
  return log + "Process " + name + " Finished.\n";
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  const std::vector<work_item> work{{"A", 5}, {"B", 2}, {"C", 1}, {"D", 3}};
  troupe::pool pool{{.workers = 2}};
  // A window of two: a job is taken from the list when a worker is free, not sent ahead to wait
  // behind a long one.
  for (const std::string& log : pool.imap_unordered(work_log, work, {.chunk = 1, .window = 2})) {
    std::cout << log;
  }
}
