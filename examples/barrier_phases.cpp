// SPDX-License-Identifier: BSD-3-Clause
//
// Three processes go through three phases in lockstep; the barrier's action runs between them.
//
// Prints:
//   phase 1: 3 of 3 did their part
//   phase 2: 3 of 3 did their part
//   phase 3: 3 of 3 did their part

#include "troupe/barrier.hpp"
#include "troupe/process.hpp"
#include "troupe/system.hpp"
#include "troupe/value.hpp"

#include <iostream>
#include <vector>

// Runs once for each phase, in the process that comes last.
void report(troupe::value<int> phase, troupe::value<int> parts) {
  std::cout << "phase " << phase.fetch_add(1) + 1 << ": " << parts.exchange(0)
            << " of 3 did their part" << std::endl;
}

void work(troupe::barrier together, troupe::value<int> parts) {
  for (int phase = 0; phase < 3; ++phase) {
    parts.fetch_add(1);
    together.arrive_and_wait();
  }
}

int main(int argc, char** argv) {
  troupe::system system{argc, argv};
  troupe::value<int> phase;
  troupe::value<int> parts;
  troupe::barrier together{3, troupe::call(report, phase, parts)};
  std::vector<troupe::process> all;
  for (int i = 0; i < 3; ++i) {
    all.emplace_back(work, together, parts);
    all.back().start();
  }
  for (troupe::process& p : all) {
    p.join();
  }
}
