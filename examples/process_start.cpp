// SPDX-License-Identifier: BSD-3-Clause
//
// A function in a process of its own, started and joined.
//
// Prints:
//   hello bob, from another process
//   it ended with exit code 0

#include "troupe/process.hpp"
#include "troupe/system.hpp"

#include <cstdint>
#include <iostream>
#include <string>

void hello(const std::string& name, std::int64_t starter) {
  const bool other = troupe::this_process::pid() != starter;
  std::cout << "hello " << name << ", from " << (other ? "another process" : "the same process")
            << '\n';
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::process p{hello, "bob", troupe::this_process::pid()};
  p.start();
  p.join();
  std::cout << "it ended with " << troupe::to_string(*p.exit_status()) << '\n';
}
