// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: this argument does not convert to the function's parameter
// NAMES: argument_must_convert<int,
#include "troupe/pool.hpp"

#include <iostream>

int twice(int x) {
  return 2 * x;
}

void test(troupe::pool& pool) {
  std::cout << pool.apply(twice, "two") << '\n';
}
