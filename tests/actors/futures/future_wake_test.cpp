// SPDX-License-Identifier: BSD-3-Clause
// What wakes a thread that waits for a future is not what tells it that there is an outcome.
#include "troupe/detail/encoded_future.hpp"
#include "troupe/detail/futex.hpp"
#include "troupe/detail/future_state.hpp"
#include "troupe/future.hpp"

#include "support/eventually.hpp"
#include "support/watchdog.hpp"

#include <gtest/gtest.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

class test_state final : public future_state {
 public:
  void fulfil(int value) {
    value_ = encode(value);
    finish(nullptr);
  }
  void each_value(const std::function<void(std::span<const std::byte>)>& visit) const override {
    visit(value_);
  }
  bool cancel(bool /*force*/) override { return false; }
  [[nodiscard]] bool running() const override { return false; }

 protected:
  [[nodiscard]] executor callbacks() const override { return {}; }

 private:
  std::vector<std::byte> value_;
};

/// Whether the kernel has put this thread of the process to sleep.
bool sleeps(int thread) {
  std::ifstream in{"/proc/self/task/" + std::to_string(thread) + "/stat"};
  std::string text{std::istreambuf_iterator<char>{in}, {}};
  const auto name_ends = text.rfind(')');
  return name_ends != std::string::npos && text.substr(name_ends + 2, 1) == "S";
}

/// Both descriptors of the pipe that has this one.
std::vector<int> ends_of_pipe(int number) {
  const auto what = [](const std::filesystem::path& link) {
    std::error_code gone;
    return std::filesystem::read_symlink(link, gone).string();
  };
  const std::string wanted = what("/proc/self/fd/" + std::to_string(number));
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) {
    if (what(entry.path()) == wanted) {
      found.push_back(std::stoi(entry.path().filename().string()));
    }
  }
  return found;
}

/// A thread that waits for a future, and what it found.
struct FutureWake : testing::Test {
  const test::watchdog dog{60s};
  const std::shared_ptr<test_state> state = std::make_shared<test_state>();
  const future<int> f = encoded_future<int>(state);
  std::atomic<int> address{-1};
  std::atomic<int> thread_id{0};
  std::atomic<bool> returned{false};
  std::atomic<bool> was_done{false};

  std::jthread wait(const std::function<void()>& before = [] {}) {
    return std::jthread{[this, before] {
      handover* const own = handover::of_this_thread();
      ASSERT_NE(own, nullptr);
      address = own->address();
      before();
      thread_id = ::gettid();
      f.wait();
      was_done = state->done();
      returned = true;
    }};
  }
  void until_it_sleeps_or_returns() {
    EXPECT_TRUE(test::eventually(
        [&] { return returned.load() || (thread_id.load() != 0 && sleeps(thread_id)); }));
  }
};

TEST_F(FutureWake, StrayByteEndsNoWait) {
  std::jthread waiter = wait();
  until_it_sleeps_or_returns();
  const std::vector<int> pipe = ends_of_pipe(address);
  ASSERT_EQ(pipe.size(), 2U);
  handover::signal(address);
  EXPECT_TRUE(test::eventually([&] {
    int bytes = 0;
    return returned || (::ioctl(pipe.front(), FIONREAD, &bytes) == 0 && bytes == 0);
  })) << "the thread takes it";
  until_it_sleeps_or_returns();
  EXPECT_FALSE(returned) << "there is no outcome";
  state->fulfil(7);
  waiter.join();
  EXPECT_TRUE(was_done);
  EXPECT_EQ(f.get(), 7);
}

TEST_F(FutureWake, ClosedPipeEndsNoWait) {
  std::jthread waiter = wait([this] {
    for (const int end : ends_of_pipe(address)) {
      ::close(end);
    }
  });
  until_it_sleeps_or_returns();
  EXPECT_FALSE(returned) << "there is no outcome";
  state->fulfil(7);
  waiter.join();
  EXPECT_TRUE(was_done);
}

TEST_F(FutureWake, WaitThatFollowsAStrayByteIsWokenToo) {
  std::jthread waiter{[this] {
    handover* const own = handover::of_this_thread();
    ASSERT_NE(own, nullptr);
    handover::signal(own->address());
    thread_id = ::gettid();
    EXPECT_EQ(f.get(), 7);
  }};
  until_it_sleeps_or_returns();
  state->fulfil(7);
}

}  // namespace
}  // namespace troupe::detail
