// SPDX-License-Identifier: BSD-3-Clause
//
// A queue as an argument of two tasks: the first one finds everything, the second one nothing.
//
// Prints:
//   the first task totals 32
//   the second task finds nothing to do

#include "troupe/pool.hpp"
#include "troupe/queue.hpp"

#include <iostream>
#include <optional>

std::optional<int> total(troupe::queue<int> numbers) {
  std::optional<int> sum;
  while (const auto n = numbers.try_get()) {
    sum = sum.value_or(0) + *n;
  }
  return sum;
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool{{.workers = 2}};
  troupe::queue<int> numbers;
  for (const int n : {15, 10, 5, 2}) {
    numbers.put(n);
  }
  for (const char* which : {"first", "second"}) {
    const std::optional<int> sum = pool.apply(total, numbers);
    std::cout << "the " << which << " task ";
    if (sum) {
      std::cout << "totals " << *sum << '\n';
    } else {
      std::cout << "finds nothing to do\n";
    }
  }
}
