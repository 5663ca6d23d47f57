// SPDX-License-Identifier: BSD-3-Clause
//
// The smallest pool: four worker processes square five numbers, the results come in input order.
//
// Prints:
//   [1, 4, 9, 16, 25]

#include "troupe/pool.hpp"

#include <iostream>
#include <ranges>
#include <vector>

int square(int x) {
  return x * x;
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};  // first line of main: in a worker it never returns
  troupe::pool pool{{.workers = 4}};
  const std::vector<int> squares = pool.map(square, std::views::iota(1, 6));
  const char* separator = "[";
  for (const int y : squares) {
    std::cout << separator << y;
    separator = ", ";
  }
  std::cout << "]\n";
}
