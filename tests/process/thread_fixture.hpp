// SPDX-License-Identifier: BSD-3-Clause
// For programs that test thread pools: what the first one of a process starts for good is there
// before any test looks at what it leaves behind.
#pragma once

#include "troupe/thread_pool.hpp"

#include "support/eventually.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace troupe::test {

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
