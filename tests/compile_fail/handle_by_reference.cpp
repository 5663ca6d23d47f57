// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: take this handle by value or by const reference
// NAMES: handle_must_be_taken_by_value<troupe::queue<int>
#include "troupe/pool.hpp"
#include "troupe/queue.hpp"

void run(troupe::queue<int>& numbers) {
  numbers.put(1);
}

void test(troupe::pool& pool, const troupe::queue<int>& numbers) {
  pool.apply(run, numbers);
}
