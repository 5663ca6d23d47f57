// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: this type cannot cross to another process: give it `template <class Archive>
// NAMES: must_be_serializable<part>
#include "troupe/callable.hpp"

struct part {
  int x = 0;
};

void test() {
  (void)troupe::decode<std::vector<part>>({});
}
