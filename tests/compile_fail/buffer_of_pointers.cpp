// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: a buffer of pointers cannot cross
// NAMES: must_be_element_of_buffer<int ?\*>
#include "troupe/buffer.hpp"

void test() {
  const troupe::buffer<int*> pointers;
}
