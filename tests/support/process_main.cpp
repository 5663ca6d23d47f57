// SPDX-License-Identifier: BSD-3-Clause
// main() of every test program that starts workers.
#include "troupe/system.hpp"

#include "support/processes.hpp"

#include <gtest/gtest.h>

int main(int argc, char** argv) {
  troupe::test::mark_process_tree(argv);
  // Before GoogleTest: in a worker process this constructor never returns.
  troupe::system system{argc, argv};
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
