// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: the number of arguments is not the number of parameters
// NAMES: argument_count_must_match<int \(\*\)\(int, int\), 1,
#include "troupe/pool.hpp"

#include <iostream>
#include <string>

int add(int a, int b) {
  return a + b;
}

void test(troupe::pool& pool) {
  std::cout << pool.apply(add, 3) << '\n';
  const int sum = pool.apply_async(add, 3).get();
  const std::string text = std::to_string(pool.apply(add, 3));
  std::cerr << sum << text;
}
