// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: this type has a `serialize` that cannot be called: if it is private
// NAMES: must_be_serializable<order>
#include "troupe/pool.hpp"

class order {
  int number_ = 0;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(number_);
  }
};

int run(const order&) {
  return 0;
}

void test(troupe::pool& pool) {
  pool.apply(run, order{});
}
