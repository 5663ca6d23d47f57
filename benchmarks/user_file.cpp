// SPDX-License-Identifier: BSD-3-Clause

// The smallest file of a user: the benchmark measures how long a compiler takes for it.

#include <troupe/pool.hpp>
#include <vector>

static int square(int x) {
  return x * x;
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::pool pool;
  return pool.map(square, std::vector{1, 2, 3}).back() == 9 ? 0 : 1;
}
