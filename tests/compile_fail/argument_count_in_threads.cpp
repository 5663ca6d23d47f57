// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: the number of arguments is not the number of parameters
// NAMES: argument_count_must_match<
#include "troupe/thread_pool.hpp"

#include <iostream>

int add(int a, int b) {
  return a + b;
}

void test(troupe::thread_pool& threads) {
  std::cout << threads.apply(add, 1) + 1 << '\n';
}
