// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: starmap takes items apart, so they must be pairs, tuples or std::arrays
// NAMES: item_must_be_pair_or_tuple<
#include "troupe/pool.hpp"

#include <iostream>
#include <vector>

int add(int a, int b) {
  return a + b;
}

void test(troupe::pool& pool, const std::vector<std::vector<int>>& rows) {
  for (const int sum : pool.starmap(add, rows)) {
    std::cout << sum << '\n';
  }
}
