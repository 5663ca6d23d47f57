// SPDX-License-Identifier: BSD-3-Clause
//
// A plain vector crosses as a copy; a shared array is the same in both processes.
//
// Prints:
//   vector: 1 2 3
//   array: -1 -2 -3
//   value: 2

#include "troupe/array.hpp"
#include "troupe/process.hpp"
#include "troupe/system.hpp"
#include "troupe/value.hpp"

#include <iostream>
#include <vector>

void negate_plain(std::vector<int> numbers, troupe::value<int> done) {
  for (int& n : numbers) {
    n = -n;
  }
  done.fetch_add(1);
}

void negate_shared(troupe::array<int> numbers, troupe::value<int> done) {
  auto all = numbers.lock();
  for (int& n : all) {
    n = -n;
  }
  done.fetch_add(1);
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  std::vector<int> plain{1, 2, 3};
  troupe::array<int> shared{1, 2, 3};
  troupe::value<int> done{0};
  troupe::process one{negate_plain, plain, done};
  troupe::process two{negate_shared, shared, done};
  one.start();
  two.start();
  one.join();
  two.join();

  std::cout << "vector:";
  for (const int n : plain) {
    std::cout << ' ' << n;
  }
  std::cout << "\narray:";
  for (const int n : shared.to_vector()) {
    std::cout << ' ' << n;
  }
  std::cout << "\nvalue: " << done.load() << '\n';
}
