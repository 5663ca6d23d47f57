// SPDX-License-Identifier: BSD-3-Clause
#include <chrono>
#include <iostream>
#include <troupe/pool.hpp>
#include <troupe/system.hpp>
#include <troupe/task.hpp>
#include <vector>

int square(int x) {
  return x * x;
}

troupe::task<int> square_later(int x) {
  // Waits for nothing: sleep_for must link and run.
  co_await troupe::sleep_for(std::chrono::milliseconds{1});
  co_return x* x;
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 2}};
  const std::vector<int> squares = pool.map(square, std::vector{1, 2, 3});
  if (squares != std::vector{1, 4, 9}) {
    std::cerr << "wrong squares\n";
    return 1;
  }
  if (pool.map(square_later, std::vector{1, 2, 3}) != squares) {
    std::cerr << "wrong squares of coroutines\n";
    return 1;
  }
  std::cout << "the installed troupe works\n";
}
