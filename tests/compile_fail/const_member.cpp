// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: a const member cannot be read in another process
// NAMES: const_cannot_be_read<const int>
#include "troupe/pool.hpp"

struct order {
  const int number = 0;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(number);
  }
};

int run(const order& one) {
  return one.number;
}

void test(troupe::pool& pool) {
  pool.apply(run, order{});
}
