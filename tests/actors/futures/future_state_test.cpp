// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/future_state.hpp"

#include "troupe/detail/encoded_future.hpp"
#include "troupe/future.hpp"
#include "troupe/log.hpp"

#include "support/eventually.hpp"
#include "support/fails_with.hpp"
#include "support/watchdog.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

/// A future that the test fulfils; callbacks wait until the test runs them.
class test_state final : public future_state {
 public:
  void fulfil(int value) {
    value_ = encode(value);
    finish(nullptr);
  }
  void fail(failure why) { finish(std::make_shared<const failure>(std::move(why))); }

  void each_value(const std::function<void(std::span<const std::byte>)>& visit) const override {
    visit(value_);
  }
  bool cancel(bool /*force*/) override { return false; }
  [[nodiscard]] bool running() const override { return false; }

  /// Runs what was handed to the executor, in that order.
  void run_callbacks() {
    for (auto& function : std::exchange(handed_over_, {})) {
      function();
    }
  }
  /// As at the end of the program.
  void drop_callbacks() { handed_over_.clear(); }
  [[nodiscard]] std::size_t callbacks_waiting() const { return handed_over_.size(); }

 protected:
  [[nodiscard]] executor callbacks() const override {
    return [this](std::function<void()> function) {
      if (function) {  // otherwise it has only to make sure that there is a thread
        handed_over_.push_back(std::move(function));
      }
    };
  }

 private:
  std::vector<std::byte> value_;
  mutable std::vector<std::function<void()>> handed_over_;
};

failure thrown(const std::exception& what) {
  return capture_failure(std::make_exception_ptr(what));
}

struct FutureState : testing::Test {
  test::watchdog watchdog{60s, "a future"};
  std::shared_ptr<test_state> state = std::make_shared<test_state>();
  future<int> f = encoded_future<int>(state);
};

TEST_F(FutureState, IsDoneOnceItIsFulfilled) {
  EXPECT_FALSE(f.ready());
  EXPECT_FALSE(f.wait_for(0ns));
  EXPECT_EQ(f.get_for(-1h), std::nullopt);
  EXPECT_THROW(static_cast<void>(f.successful()), std::logic_error);
  state->fulfil(42);
  EXPECT_TRUE(f.ready());
  EXPECT_TRUE(f.wait_for(-1h));
  EXPECT_TRUE(f.successful());
  EXPECT_EQ(f.get(), 42);
  EXPECT_EQ(f.get(), 42);
  EXPECT_EQ(f.exception(), nullptr);
}

TEST_F(FutureState, ThrowsAFreshExceptionEachTime) {
  state->fail(thrown(std::runtime_error{"it failed"}));
  EXPECT_FALSE(f.successful());
  EXPECT_FALSE(f.cancelled());
  const std::exception_ptr first = f.exception();
  const std::exception_ptr second = f.exception();
  EXPECT_NE(first, second) << "threads would share one object";
  EXPECT_THROW(f.get(), std::exception);
  EXPECT_THROW(f.get(), std::exception);
}

TEST_F(FutureState, WithACancelledOutcomeIsCancelled) {
  failure why;
  why.code = errc::cancelled;
  why.ran = task_ran::no;
  state->fail(why);
  EXPECT_TRUE(f.cancelled());
  EXPECT_FALSE(f.successful());
  EXPECT_THROW(f.get(), cancelled_error);
}

TEST_F(FutureState, AWaitEndsAtItsDeadlineAndNotBefore) {
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_FALSE(f.wait_for(5ms));
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 5ms);
}

TEST_F(FutureState, WakesEveryThreadThatWaits) {
  std::atomic<int> sum{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      if (i % 2 == 0) {
        sum += f.get();
      } else {
        sum += f.get_for(std::chrono::hours::max()).value_or(-1000);
      }
    });
  }
  state->fulfil(7);
  threads.clear();
  EXPECT_EQ(sum, 42);
}

TEST_F(FutureState, AWakeUpIsNeverLost) {
  for (int i = 0; i < 3000; ++i) {
    const auto one = std::make_shared<test_state>();
    std::jthread waiter{[&] { EXPECT_TRUE(one->wait(std::nullopt)); }};
    one->fulfil(i);
  }
}

TEST_F(FutureState, CallbacksGoThroughTheExecutorInTheirOrder) {
  std::string calls;
  f.on_result([&](int v) { calls += "r" + std::to_string(v); })
      .on_error([&](const error&) { calls += "e"; })
      .on_done([&](const future<int>& done) { calls += "d" + std::to_string(done.get()); });
  EXPECT_EQ(state->callbacks_waiting(), 0U);
  state->fulfil(1);
  EXPECT_EQ(calls, "") << "a callback ran on the thread that fulfils";
  EXPECT_EQ(state->callbacks_waiting(), 3U);
  f.on_result([&](int) { calls += "late"; });
  state->run_callbacks();
  EXPECT_EQ(calls, "r1d1late");
  state->run_callbacks();
  EXPECT_EQ(calls, "r1d1late") << "each runs once";
}

TEST_F(FutureState, ACallbackAddedWhileOthersAreHandedOverComesAfterThem) {
  class eager_state final : public future_state {
   public:
    void fulfil() { finish(nullptr); }
    void each_value(
        const std::function<void(std::span<const std::byte>)>& /*visit*/) const override {}
    bool cancel(bool /*force*/) override { return false; }
    [[nodiscard]] bool running() const override { return false; }
    mutable std::function<void()> before_first;

   protected:
    [[nodiscard]] executor callbacks() const override {
      return [this](const std::function<void()>& function) {
        if (function) {
          if (const auto first = std::exchange(before_first, nullptr)) {
            first();
          }
          function();
        }
      };
    }
  };
  const auto one = std::make_shared<eager_state>();
  std::string calls;
  one->add_callback([&](future_state&) { calls += "a"; });
  one->add_callback([&](future_state&) { calls += "b"; });
  one->before_first = [&] { one->add_callback([&](future_state&) { calls += "late"; }); };
  one->fulfil();
  EXPECT_EQ(calls, "ablate");
}

TEST_F(FutureState, GetWaitsForCallbacksThatWereDropped) {
  f.on_result([](int) {}).on_done([](const future<int>&) {});
  state->fulfil(5);
  std::jthread waiter{[&] { EXPECT_EQ(f.get(), 5); }};
  state->drop_callbacks();
}

TEST_F(FutureState, AFailureReachesOnErrorAsARemoteErrorAndOnDone) {
  std::string calls;
  f.on_result([&](int) { calls += "r"; })
      .on_error([&](const error& e) {
        calls += dynamic_cast<const remote_error*>(&e) != nullptr ? "remote" : "other";
      })
      .on_done([&](const future<int>& done) { calls += done.successful() ? "+" : "-"; });
  state->fail(capture_failure(std::make_exception_ptr(std::out_of_range{"9"})));
  state->run_callbacks();
  EXPECT_EQ(calls, "remote-");
}

TEST_F(FutureState, ACallbackThatThrowsIsReportedAndTheNextRuns) {
  std::mutex mutex;
  std::vector<std::string> reports;
  set_log_hook([&](log_level, std::string_view text) {
    const std::lock_guard lock{mutex};
    reports.emplace_back(text);
  });
  int second = 0;
  f.on_result([](int) { throw std::runtime_error{"oh"}; }).on_result([&](int v) { second = v; });
  state->fulfil(5);
  state->run_callbacks();
  set_log_hook({});
  EXPECT_EQ(second, 5);
  ASSERT_EQ(reports.size(), 1U);
  EXPECT_NE(reports[0].find("oh"), std::string::npos) << reports[0];
}

TEST_F(FutureState, CallbacksAddedWhileItIsFulfilledAllRunOnce) {
  for (int round = 0; round < 500; ++round) {
    // Counts instead of running: the test's executor is for one thread.
    class counting_state final : public future_state {
     public:
      void fulfil() { finish(nullptr); }
      void each_value(
          const std::function<void(std::span<const std::byte>)>& /*visit*/) const override {}
      bool cancel(bool /*force*/) override { return false; }
      [[nodiscard]] bool running() const override { return false; }
      mutable std::atomic<int> handed_over{0};

     protected:
      [[nodiscard]] executor callbacks() const override {
        return [this](const std::function<void()>& function) { handed_over += function ? 1 : 0; };
      }
    };
    const auto one = std::make_shared<counting_state>();
    {
      std::jthread adder{[&] {
        for (int i = 0; i < 20; ++i) {
          one->when_done([](future_state&) {});
        }
      }};
      one->fulfil();
    }
    ASSERT_EQ(one->handed_over, 20);
  }
}

TEST_F(FutureState, ACallbackKeepsTheStateAlive) {
  std::weak_ptr<test_state> watched = state;
  int got = 0;
  f.on_result([&](int v) { got = v; });
  state->fulfil(3);
  f = {};
  state->run_callbacks();
  EXPECT_EQ(got, 3);
  state.reset();
  EXPECT_TRUE(watched.expired()) << "a cycle keeps it for ever";
}

TEST_F(FutureState, AValueThatCannotBeDecodedFailsGetAsThat) {
  const future<std::string> wrong = encoded_future<std::string>(state);
  state->fulfil(0x7fffffff);
  EXPECT_TRUE(test::fails_with(errc::result_decode_failed, [&] { return wrong.get(); }));
  EXPECT_EQ(f.get(), 0x7fffffff);
}

}  // namespace
}  // namespace troupe::detail
