// SPDX-License-Identifier: BSD-3-Clause
#include "support/eventually.hpp"

#include <algorithm>
#include <thread>

namespace troupe::test {

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  using namespace std::chrono_literals;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  auto pause = std::chrono::microseconds{200};
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) {
      return condition();  // the last pause may have been long: one more look, after the deadline
    }
    // The one sleep of all tests: what other processes do has no event that every test could wait
    // for.
    std::this_thread::sleep_for(pause);
    pause = std::min<std::chrono::microseconds>(pause * 2, 20ms);
  }
  return true;
}

}  // namespace troupe::test
