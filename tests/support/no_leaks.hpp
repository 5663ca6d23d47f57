// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/leak_check.hpp"
#include "support/watchdog.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace troupe::test {

/// A fixture that fails a test which leaves something behind (see leak_check), and ends one that
/// hangs (see watchdog).
///
/// Looks first in its constructor and again in its destructor, so what a derived fixture holds in
/// its members is made and destroyed between the two.
class no_leaks : public testing::Test {
 public:
  ~no_leaks() override;

 protected:
  explicit no_leaks(std::chrono::seconds time_limit = std::chrono::seconds{60});

  /// A process that outlives the test on purpose.
  void ignore_process(int pid) { check_.ignore_process(pid); }

  /// From now on this is how it was before: for what the first use in a process sets up for good.
  void take_baseline() { check_ = leak_check{}; }

 private:
  watchdog watchdog_;  // before the look, as its thread is there at both
  leak_check check_;
};

}  // namespace troupe::test
