// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: a pointer or reference cannot be shared
// NAMES: must_be_shareable<int ?\*>
#include "troupe/value.hpp"

void test() {
  const troupe::value<int*> pointer;
}
