// SPDX-License-Identifier: BSD-3-Clause
#include <iostream>
#include <troupe/pool.hpp>
#include <troupe/system.hpp>
#include <vector>

int square(int x) {
  return x * x;
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 2}};
  const std::vector<int> squares = pool.map(square, std::vector{1, 2, 3});
  if (squares != std::vector{1, 4, 9}) {
    std::cerr << "wrong squares\n";
    return 1;
  }
  std::cout << "the installed troupe works\n";
}
