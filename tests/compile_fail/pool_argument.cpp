// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: this object belongs to its process
// NAMES: must_be_serializable<troupe::pool>
#include "troupe/pool.hpp"

#include <iostream>

int run(troupe::pool&, int x) {
  return x;
}

void test(troupe::pool& pool) {
  std::cout << pool.apply(run, pool, 1) << '\n';
}
