// SPDX-License-Identifier: BSD-3-Clause
// start_method::fork copies a program while its threads are at work: nothing that the copy needs
// may be left locked in it.
#include "base/fork_safety.hpp"

#include "troupe/log.hpp"

#include "pool_fixture.hpp"

#include <atomic>
#include <mutex>
#include <string_view>
#include <thread>

namespace troupe::test {
namespace {

struct ForkSafety : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(ForkSafety);

int log_and_throw(int n) {
  detail::log(log_level::info, "from a worker");
  if (n < 0) {
    throw std::out_of_range{"negative"};
  }
  return n;
}

TEST_P(ForkSafety, WorkersStartWhileThreadsUseWhatTheyNeed) {
  std::atomic<bool> stop{false};
  set_log_hook([](log_level, std::string_view) {});
  std::thread busy{[&] {
    while (!stop) {
      detail::log(log_level::info, "from a thread");
      static_cast<void>(capture_failure(std::make_exception_ptr(std::out_of_range{"negative"})));
      bound_call{[] {}}();
    }
  }};
  for (int round = 0; round < 30; ++round) {
    pool p{options(1)};
    EXPECT_EQ(p.apply(log_and_throw, round), round);
    EXPECT_THROW(p.apply(log_and_throw, -1), std::out_of_range);
  }
  stop = true;
  busy.join();
  set_log_hook(nullptr);
}

TEST(ForkSafeMutex, AllLocksAreTakenAndGivenBack) {
  static auto& mutex = *new detail::fork_safe_mutex;
  std::atomic<bool> got{false};
  std::thread waiting;
  {
    const detail::all_locked_for_fork all;
    waiting = std::thread{[&] {
      const std::lock_guard lock{mutex};
      got = true;
    }};
    EXPECT_FALSE(got);
  }
  waiting.join();
  EXPECT_TRUE(got);
}

}  // namespace
}  // namespace troupe::test
