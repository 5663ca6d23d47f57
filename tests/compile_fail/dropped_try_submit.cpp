// SPDX-License-Identifier: BSD-3-Clause
// ERROR: nothing: the task was not taken
#pragma GCC diagnostic error "-Wunused-result"
#include "troupe/executor.hpp"

void test(troupe::thread_pool_executor& executor) {
  executor.try_submit([] {});
}
