// SPDX-License-Identifier: BSD-3-Clause
// main() of every test program that starts workers.
#include "troupe/system.hpp"

#include "support/eventually.hpp"
#include "support/processes.hpp"
#include "support/program.hpp"

#include <gtest/gtest.h>

#include <iostream>

namespace troupe::test {
namespace {
troupe::system* only_system = nullptr;
}
troupe::system& program_system() {
  return *only_system;
}
}  // namespace troupe::test

int main(int argc, char** argv) {
  troupe::test::mark_process_tree(argv);
  // Before GoogleTest: in a worker process this constructor never returns.
  troupe::system system{argc, argv};
  troupe::test::only_system = &system;
  // What a test finds at its start is what it compares its end with, so that must not change by
  // itself: the constructor does not wait for its threads to give themselves names.
  if (!troupe::test::eventually([] { return troupe::test::threads_have_names(); })) {
    std::cerr << "the threads of troupe::system took no names:\n"
              << troupe::test::describe_our_processes();
    return 1;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
