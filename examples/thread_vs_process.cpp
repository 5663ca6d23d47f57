// SPDX-License-Identifier: BSD-3-Clause
//
// The same program on threads and on processes, and what a task costs on each. Threads cost less
// and share memory; a process can crash or be killed, and takes no other process along.
//
// Prints, with times of your machine:
//   threads: the sum is 332833500, a task costs 0.41 us
//   processes: the sum is 332833500, a task costs 1.3 us

#include "troupe/executor.hpp"

#include <chrono>
#include <iostream>
#include <ranges>
#include <vector>

int square(int x) {
  return x * x;
}

template <class Executor>
void run(const char* name, Executor executor) {
  constexpr int tasks = 1000;
  constexpr int rounds = 10;
  executor.submit(square, 1).get();
  const auto begin = std::chrono::steady_clock::now();
  long sum = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<troupe::future<int>> squares;
    for (const int i : std::views::iota(0, tasks)) {
      squares.push_back(executor.submit(square, i));
    }
    for (const auto& each : squares) {
      sum += each.get();
    }
  }
  const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - begin;
  std::cout.precision(2);
  std::cout << name << ": the sum is " << sum / rounds << ", a task costs "
            << taken.count() / (rounds * tasks) << " us\n";
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  run("threads", troupe::thread_pool_executor{{.workers = 2}});
  run("processes", troupe::process_pool_executor{{.workers = 2}});
}
