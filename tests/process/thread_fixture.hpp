// SPDX-License-Identifier: BSD-3-Clause
// For programs that test thread pools.
#pragma once

#include "troupe/thread_pool.hpp"

#include "support/eventually.hpp"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <string>

namespace troupe::test {

/// Tasks wait here until the test opens it; both are threads of one process.
class thread_gate {
 public:
  void open() {
    const std::lock_guard lock{mutex_};
    open_ = true;
    moved_.notify_all();
  }
  void wait() {
    std::unique_lock lock{mutex_};
    ++waiting_;
    moved_.notify_all();
    moved_.wait(lock, [&] { return open_; });
  }
  void wait_for_waiters(int count) {
    std::unique_lock lock{mutex_};
    moved_.wait(lock, [&] { return waiting_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable moved_;
  bool open_ = false;
  int waiting_ = 0;
};

}  // namespace troupe::test
