// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <thread>
#include <vector>

namespace troupe::test {

/// Keeps cores busy while it lives, for tests that must hold on a loaded machine.
class load_cpu {
 public:
  /// Starts this many threads that only compute; 0 means one per core.
  explicit load_cpu(unsigned threads = 0);

 private:
  std::vector<std::jthread> threads_;
};

}  // namespace troupe::test
