// SPDX-License-Identifier: BSD-3-Clause
// ERROR: troupe: this callable cannot be called with copies of these arguments
// NAMES: local_call_must_match<
#include "troupe/thread_pool.hpp"

#include <string>
#include <vector>

void print(const std::string&) {}

void test(troupe::thread_pool& threads, const std::vector<int>& numbers) {
  threads.map(print, numbers);
}
