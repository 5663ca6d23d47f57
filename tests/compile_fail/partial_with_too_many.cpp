// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: partial\(f, values...\) binds more values than f has parameters
// NAMES: too_many_bound<
#include "troupe/callable.hpp"

int add(int a, int b) {
  return a + b;
}

void test() {
  (void)troupe::partial(add, 1, 2, 3);
}
