// SPDX-License-Identifier: BSD-3-Clause
//
// Callbacks run in the parent and may capture: twenty results, in any order, in one vector.
//
// Prints:
//   0 1 4 9 16 25 36 49 64 81 100 121 144 169 196 225 256 289 324 361
//   failed: cannot square -1

#include "troupe/pool.hpp"

#include <algorithm>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

int square(int x) {
  if (x < 0) {
    throw std::domain_error{"cannot square " + std::to_string(x)};
  }
  return x * x;
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  std::vector<int> squares;  // no lock: callbacks run one after the other, on one thread
  std::string failed;
  troupe::pool pool{{.workers = 5}};
  for (int x = -1; x < 20; ++x) {
    pool.apply_async(square, x)
        .on_result([&](int y) { squares.push_back(y); })
        .on_error([&](const troupe::error& e) {
          failed = dynamic_cast<const troupe::remote_error_info&>(e).message();
        });
  }
  pool.close();
  pool.join();  // waits for the callbacks, too
  std::ranges::sort(squares);
  for (const int y : squares) {
    std::cout << y << (y == squares.back() ? "\n" : " ");
  }
  std::cout << "failed: " << failed << '\n';
}
