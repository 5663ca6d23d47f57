// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <stop_token>
#include <string>
#include <thread>

namespace troupe::test {

/// Ends the program with an account of all our processes if it lives longer than the limit: a test
/// that hangs says where.
class watchdog {
 public:
  explicit watchdog(std::chrono::milliseconds limit, std::string what = "the test");
  ~watchdog() = default;
  watchdog(const watchdog&) = delete;
  watchdog& operator=(const watchdog&) = delete;

 private:
  std::jthread thread_;  // its destructor calls the watch off and waits for that
};

}  // namespace troupe::test
