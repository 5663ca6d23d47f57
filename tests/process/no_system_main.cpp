// SPDX-License-Identifier: BSD-3-Clause
// A program that forgot troupe::system: prints what it is told, for ctest to look at.
#include "troupe/pool.hpp"

#include <iostream>

int main() {
  try {
    const troupe::pool p{{.workers = 1}};
    std::cout << "a pool was made\n";
  } catch (const troupe::not_bootstrapped& told) {
    std::cout << "not_bootstrapped: " << told.what() << '\n';
  } catch (const std::exception& other) {
    std::cout << "another exception: " << other.what() << '\n';
  }
}
