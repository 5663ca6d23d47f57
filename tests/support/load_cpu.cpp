// SPDX-License-Identifier: BSD-3-Clause
#include "support/load_cpu.hpp"

#include <algorithm>
#include <stop_token>

namespace troupe::test {

load_cpu::load_cpu(unsigned threads) {
  if (threads == 0) {
    threads = std::max(1U, std::thread::hardware_concurrency());
  }
  threads_.reserve(threads);
  for (unsigned i = 0; i < threads; ++i) {
    threads_.emplace_back([](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
      }
    });
  }
}

}  // namespace troupe::test
