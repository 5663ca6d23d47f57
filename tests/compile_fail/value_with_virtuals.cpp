// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: a type with virtual functions cannot be shared
// NAMES: must_be_shareable<shape>
#include "troupe/value.hpp"

struct shape {
  virtual int area() const { return 0; }
};

void test() {
  const troupe::raw_value<shape> one;
}
