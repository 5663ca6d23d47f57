// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/eventually.hpp"

#include <unistd.h>

#include <atomic>
#include <fstream>
#include <string>

namespace troupe::test {

/// A thread of this process, as others wait until it sleeps in the kernel. It must not sleep between
/// `is_this_thread` and what it is to sleep in.
class sleeper {
 public:
  void is_this_thread() noexcept { thread_ = ::gettid(); }

  /// Whether it came to sleep.
  [[nodiscard]] bool sleeps() const {
    return eventually([this] {
      const pid_t thread = thread_;
      return thread != 0 && state_of(thread) == 'S';
    });
  }

 private:
  static char state_of(pid_t thread) {
    std::ifstream file{"/proc/self/task/" + std::to_string(thread) + "/stat"};
    std::string text;
    std::getline(file, text);
    const std::size_t close = text.rfind(')');
    return close != std::string::npos && close + 2 < text.size() ? text[close + 2] : '?';
  }

  std::atomic<pid_t> thread_{0};
};

}  // namespace troupe::test
