// SPDX-License-Identifier: BSD-3-Clause
// What thread_waiting_test does with a few seeds, with many.
#include "random_waits.hpp"

#include <gtest/gtest.h>

namespace troupe::test {
namespace {

// Issue 11, 11.
TEST(ThreadWaitingStorm, TasksThatWaitForEarlierOnesAtRandomAllEnd) {
  for (unsigned seed = 100; seed < 200; ++seed) {
    random_waits::all_end(seed, seed % 2 == 0);
  }
}

}  // namespace
}  // namespace troupe::test
