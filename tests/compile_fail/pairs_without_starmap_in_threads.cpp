// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: the function takes several parameters and is given one pair or tuple: use starmap
// NAMES: pairs_and_tuples_need_starmap<
#include "troupe/thread_pool.hpp"

#include <iostream>
#include <utility>
#include <vector>

int add(int a, int b) {
  return a + b;
}

void test(troupe::thread_pool& threads, const std::vector<std::pair<int, int>>& pairs) {
  for (const int sum : threads.map(add, pairs)) {
    std::cout << sum + 1 << '\n';
  }
}
