// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: a function called in another process cannot take a non-const reference
// NAMES: parameter_must_be_a_value<int ?&>
#include "troupe/pool.hpp"
#include "troupe/task.hpp"

troupe::task<int> run(int& x) {
  co_return x;
}

void test(troupe::pool& pool) {
  int x = 1;
  (void)pool.apply_async(run, x);
}
