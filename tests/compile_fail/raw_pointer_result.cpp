// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: a raw pointer cannot cross to another process
// NAMES: must_be_serializable<int ?\*>
#include "troupe/pool.hpp"

#include <iostream>

int* find();

void test(troupe::pool& pool) {
  std::cout << *pool.apply(find) << '\n';
}
