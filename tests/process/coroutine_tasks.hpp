// SPDX-License-Identifier: BSD-3-Clause
// Coroutines that several suites submit. `sleep_for` is a suspension that lets others run; nothing depends on how long it
// takes.
#pragma once

#include "troupe/task.hpp"

#include <chrono>
#include <stdexcept>
#include <string>

namespace troupe::test {

inline task<int> square_later(int x) {
  co_await sleep_for(std::chrono::microseconds{x % 7 * 100});
  co_return x* x;
}

inline task<int> square_now(int x) {
  co_return x* x;
}

inline task<int> fail_later(int x) {
  co_await sleep_for(std::chrono::milliseconds{1});
  throw std::out_of_range{"no " + std::to_string(x)};
}

}  // namespace troupe::test
