// SPDX-License-Identifier: BSD-3-Clause
// ERROR: (assignment of read-only location|cannot assign to return value)
#include "troupe/buffer.hpp"

void set_first(const troupe::buffer<int>& all) {
  all[0] = 1;
}
