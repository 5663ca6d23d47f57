// SPDX-License-Identifier: BSD-3-Clause
// ERROR: only what is read from this range is computed
#pragma GCC diagnostic error "-Wunused-result"
#include "troupe/executor.hpp"

#include <ranges>

void test(troupe::thread_pool_executor& executor) {
  executor.map([](int x) { return x; }, std::views::iota(0));
}
