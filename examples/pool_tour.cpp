// SPDX-License-Identifier: BSD-3-Clause
//
// Every way to submit work to a pool, in one program.
//
// Prints:
//   Initializing a worker
//   Initializing a worker
//   Before
//   apply: 4
//   apply_async: 9
//   map: 1 4 9
//   map_async: 16 25
//   imap: 1 4 9
//   imap_unordered, sorted: 1 4 9
//   starmap: 3 7
//   starmap_async: 11
//   After

#include "troupe/pool.hpp"

#include <algorithm>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

void greet(const std::string& text) {
  std::cout << text + "\n" << std::flush;  // one write: two workers share the output
}
int square(int x) {
  return x * x;
}
int add(int a, int b) {
  return a + b;
}

void print(const std::string& how, const std::vector<int>& results) {
  std::cout << how << ':';
  for (const int result : results) {
    std::cout << ' ' << result;
  }
  std::cout << '\n';
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  const std::vector<int> numbers{1, 2, 3};
  const std::vector<std::pair<int, int>> pairs{{1, 2}, {3, 4}};
  // Runs in every worker before its first task, also in those that replace a dead one.
  troupe::pool pool{{.workers = 2, .initializer = troupe::call(greet, "Initializing a worker")}};

  std::cout << "Before\n";
  print("apply", {pool.apply(square, 2)});  // waits
  const troupe::future<int> nine = pool.apply_async(square, 3);
  print("apply_async", {nine.get()});
  print("map", pool.map(square, numbers));
  const auto later = pool.map_async(square, std::vector{4, 5});
  print("map_async", later.get());

  std::vector<int> results;
  for (const int y : pool.imap(square, numbers)) {  // as they come, in input order
    results.push_back(y);
  }
  print("imap", results);
  results.clear();
  for (const int y : pool.imap_unordered(square, numbers)) {  // as they come
    results.push_back(y);
  }
  std::ranges::sort(results);
  print("imap_unordered, sorted", results);

  print("starmap", pool.starmap(add, pairs));
  print("starmap_async", pool.starmap_async(add, std::vector{std::pair{5, 6}}).get());
  std::cout << "After\n";
  pool.close();
  pool.join();
}
