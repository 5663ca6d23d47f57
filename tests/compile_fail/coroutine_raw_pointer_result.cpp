// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: a raw pointer
// NAMES: int ?\*
#include "troupe/pool.hpp"
#include "troupe/task.hpp"

troupe::task<int*> run(int) {
  co_return nullptr;
}

void test(troupe::pool& pool) {
  (void)pool.apply_async(run, 1);
}
