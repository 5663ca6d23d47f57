// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: the elements of a buffer are neither const nor references
// NAMES: must_be_element_of_buffer<(const double|double const)>
#include "troupe/buffer.hpp"

double first_of(const troupe::buffer<const double>& all) {
  return all.empty() ? 0 : all[0];
}
void test() {
  static_cast<void>(first_of({}));
}
