// SPDX-License-Identifier: BSD-3-Clause
//
// One function of four arguments, mapped over four ranges side by side.
//
// Prints:
//   100 100 100 400

#include "troupe/executor.hpp"

#include <iostream>
#include <vector>

int bbox(int x1, int x2, int y1, int y2) {
  return (x2 - x1) * (y2 - y1);
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::process_pool_executor executor{{.workers = 2}};
  const std::vector<int> x1s{0, 10, 20, 30};
  const std::vector<int> x2s{10, 20, 30, 50};
  const std::vector<int> y1s{0, 0, 5, 5};
  const std::vector<int> y2s{10, 10, 15, 25};

  const char* separator = "";
  for (const int area : executor.map(bbox, x1s, x2s, y1s, y2s)) {  // in order
    std::cout << separator << area;
    separator = " ";
  }
  std::cout << '\n';
}
