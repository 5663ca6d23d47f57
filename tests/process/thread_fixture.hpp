// SPDX-License-Identifier: BSD-3-Clause
// For programs that test thread pools.
#pragma once

#include "troupe/thread_pool.hpp"

#include "support/eventually.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
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

/// What the first thread pool of a process starts for good is there before any test looks at what
/// it leaves behind.
class thread_actors_first final : public testing::Environment {
 public:
  void SetUp() override {
    {
      const thread_pool first{{.workers = 1, .name = "first"}};
    }
    ASSERT_TRUE(eventually([] { return threads_have_names() && !has_thread("first_0"); }));
  }

 private:
  static bool has_thread(const std::string& wanted) {
    for (const auto& thread : std::filesystem::directory_iterator{"/proc/self/task"}) {
      std::string name;
      std::ifstream in{thread.path() / "comm"};
      std::getline(in, name);
      if (name == wanted) {
        return true;
      }
    }
    return false;
  }
};
inline testing::Environment* const thread_actors_environment =
    testing::AddGlobalTestEnvironment(new thread_actors_first);

}  // namespace troupe::test
