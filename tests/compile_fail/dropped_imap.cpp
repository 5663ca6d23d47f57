// SPDX-License-Identifier: BSD-3-Clause
// ERROR: only what is read from this range is computed
#pragma GCC diagnostic error "-Wunused-result"
#include "troupe/pool.hpp"

#include <vector>

int run(int x) {
  return x;
}

void test(troupe::pool& pool) {
  pool.imap(run, std::vector{1, 2});
}
