// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: this object belongs to its process
// NAMES: must_be_serializable<troupe::future<int>
#include "troupe/pool.hpp"

int use(const troupe::future<int>&) {
  return 0;
}

void test(troupe::pool& pool, const troupe::future<int>& f) {
  static_cast<void>(pool.apply_async(use, f));
}
