// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: a capturing lambda cannot .*: bind the values with troupe::partial\(f, values
// NAMES: callable_must_cross<
#include "troupe/callable.hpp"

void test() {
  int n = 1;
  (void)troupe::partial([n](int x) { return x + n; }, 1);
}
