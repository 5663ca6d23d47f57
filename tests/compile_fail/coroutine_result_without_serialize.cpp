// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: this type cannot cross to another process: give it `template <class Archive>
// NAMES: must_be_serializable<answer>
#include "troupe/pool.hpp"
#include "troupe/task.hpp"

struct answer {
  int x = 0;
};
troupe::task<answer> run(int) {
  co_return answer{};
}

void test(troupe::pool& pool) {
  (void)pool.apply_async(run, 1);
}
