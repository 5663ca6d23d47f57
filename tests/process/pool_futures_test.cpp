// SPDX-License-Identifier: BSD-3-Clause
// What a future tells, when, and on which thread.
#include "troupe/log.hpp"

#include "pool_fixture.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace troupe::test {
namespace {

struct PoolFutures : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(PoolFutures);

int fail() {
  throw std::out_of_range{"it failed"};
}

/// A thread waits here until another one opens it; both are threads of the test.
class latch_with_watchdog {
 public:
  void open() {
    const std::lock_guard lock{mutex_};
    open_ = true;
    moved_.notify_all();
  }
  void wait() {
    std::unique_lock lock{mutex_};
    moved_.wait(lock, [&] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable moved_;
  bool open_ = false;
};

TEST_P(PoolFutures, GetMayBeCalledAgain) {
  pool p{options()};
  auto good = p.apply_async([](int n) { return std::string(static_cast<std::size_t>(n), 'x'); }, 3);
  EXPECT_EQ(good.get(), "xxx");
  EXPECT_EQ(good.get(), "xxx");
  auto copy = good;
  EXPECT_EQ(copy.get(), "xxx");
  auto bad = p.apply_async(fail);
  EXPECT_THROW(bad.get(), std::out_of_range);
  EXPECT_THROW(bad.get(), std::out_of_range);
}

TEST_P(PoolFutures, ResultsOutliveTheirPool) {
  future<std::string> small;
  future<std::vector<int>> large;
  future<int> bad;
  {
    pool p{options()};
    small = p.apply_async([] { return std::string{"small"}; });
    large = p.apply_async([] { return std::vector<int>(1 << 20, 7); });
    bad = p.apply_async(fail);
    p.close();
    p.join();
  }
  EXPECT_EQ(small.get(), "small");
  EXPECT_EQ(large.get(), std::vector<int>(1 << 20, 7));
  EXPECT_THROW(bad.get(), std::out_of_range);
}

TEST_P(PoolFutures, WaitingGivesUpAfterTheTimeAndNotBefore) {
  pool p{options()};
  const std::string gate = file("gate");
  auto slow = p.apply_async(wait_at, file("running"), gate);
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_FALSE(slow.wait_for(20ms));
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 20ms);
  EXPECT_FALSE(slow.get_for(1ms).has_value());
  EXPECT_FALSE(slow.wait_for(0ms));
  EXPECT_FALSE(slow.wait_for(-1h));
  EXPECT_FALSE(slow.wait_for(std::chrono::hours::min()));
  EXPECT_FALSE(slow.get_for(-1ns).has_value());
  EXPECT_FALSE(slow.ready());
  mark(gate);
  EXPECT_TRUE(slow.wait_for(std::chrono::hours::max()));
  EXPECT_EQ(slow.get_for(std::chrono::hours::max()), 1);
  EXPECT_EQ(slow.get_for(-1h), 1) << "ready is ready, whatever the time";
  EXPECT_TRUE(slow.wait_for(std::chrono::nanoseconds::min()));
  EXPECT_TRUE(slow.wait_for(std::chrono::duration<double>::max()));
}

TEST_P(PoolFutures, AFutureForVoidTellsByABoolWhetherItWasInTime) {
  pool p{options()};
  const std::string gate = file("gate");
  auto slow = p.apply_async([](const std::string& r, const std::string& g) { wait_at(r, g); },
                            file("running"), gate);
  EXPECT_FALSE(slow.get_for(1ms));
  mark(gate);
  EXPECT_TRUE(slow.get_for(1h));
  auto bad = p.apply_async([] { throw std::domain_error{"no"}; });
  EXPECT_THROW(static_cast<void>(bad.get_for(1h)), std::domain_error);
}

TEST_P(PoolFutures, TellTheStateTheyAreIn) {
  pool p{options(1)};
  const std::string gate = file("gate");
  auto running = p.apply_async(wait_at, file("running"), gate);
  auto queued = p.apply_async(square, 3);
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  EXPECT_TRUE(eventually([&] { return running.running(); }));
  EXPECT_FALSE(running.ready());
  EXPECT_FALSE(running.cancelled());
  EXPECT_THROW(static_cast<void>(running.successful()), std::logic_error);
  EXPECT_FALSE(queued.running());
  EXPECT_FALSE(queued.ready());
  mark(gate);
  running.wait();
  EXPECT_TRUE(running.ready());
  EXPECT_TRUE(running.successful());
  EXPECT_FALSE(running.running());
  EXPECT_FALSE(running.cancelled());
  EXPECT_EQ(running.exception(), nullptr);
  EXPECT_FALSE(running.cancel()) << "it has an outcome";
  EXPECT_TRUE(running.successful());

  auto bad = p.apply_async(fail);
  const std::exception_ptr thrown = bad.exception();
  ASSERT_NE(thrown, nullptr);
  EXPECT_THROW(std::rethrow_exception(thrown), std::out_of_range);
  EXPECT_FALSE(bad.successful());
  EXPECT_TRUE(bad.ready());
  EXPECT_FALSE(bad.cancelled());
}

TEST_P(PoolFutures, AreKeys) {
  pool p{options()};
  auto a = p.apply_async(square, 1);
  auto b = p.apply_async(square, 1);
  const auto same = a;
  EXPECT_EQ(a, same);
  EXPECT_NE(a, b);
  EXPECT_NE(a < b, b < a);
  std::map<future<int>, int> ordered{{a, 1}, {b, 2}};
  std::unordered_map<future<int>, int> hashed{{a, 1}, {b, 2}};
  EXPECT_EQ(ordered.at(same), 1);
  EXPECT_EQ(hashed.at(same), 1);
  EXPECT_EQ(hashed.at(b), 2);
  EXPECT_EQ(future<int>{}, future<int>{});
}

TEST(PoolFuture, WithoutATaskSaysSoFromEachMember) {
  future<int> none;
  EXPECT_FALSE(none.valid());
  const auto no_state = [](auto&& call) { return fails_with(errc::no_state, call); };
  EXPECT_TRUE(no_state([&] { return none.get(); }));
  EXPECT_TRUE(no_state([&] { return none.get_for(1ms); }));
  EXPECT_TRUE(no_state([&] {
    none.wait();
    return 0;
  }));
  EXPECT_TRUE(no_state([&] { return none.wait_for(1ms); }));
  EXPECT_TRUE(no_state([&] { return none.ready(); }));
  EXPECT_TRUE(no_state([&] { return none.successful(); }));
  EXPECT_TRUE(no_state([&] { return none.cancelled(); }));
  EXPECT_TRUE(no_state([&] { return none.running(); }));
  EXPECT_TRUE(no_state([&] { return none.cancel(); }));
  EXPECT_TRUE(no_state([&] { return none.cancel(force); }));
  EXPECT_TRUE(no_state([&] { return none.exception(); }));
  EXPECT_TRUE(no_state([&] { return none.on_result([](int) {}); }));
  EXPECT_TRUE(no_state([&] { return none.on_error([](const error&) {}); }));
  EXPECT_TRUE(no_state([&] { return none.on_done([](const future<int>&) {}); }));
  EXPECT_TRUE(no_state([&] { return none.then([](int) {}).valid(); }));
  EXPECT_TRUE(no_state([&] { return none.progress(); }));
  EXPECT_TRUE(no_state([&] { return none.on_progress([](const task_progress&) {}); }));
  EXPECT_TRUE(no_state([&] { return none.counts(); }));
  future<void> none_of_void;
  EXPECT_TRUE(no_state([&] {
    none_of_void.get();
    return 0;
  }));
  EXPECT_TRUE(no_state([&] { return none_of_void.on_result([] {}); }));
}

TEST_P(PoolFutures, CallbacksRunInTheOrderTheyWereAddedOnceEach) {
  pool p{options()};
  const std::string gate = file("gate");
  std::vector<std::string> calls;  // one thread calls, and join waits for it
  auto f = p.apply_async(wait_at, file("running"), gate);
  f.on_result([&](int v) { calls.push_back("result " + std::to_string(v)); })
      .on_error([&](const error&) { calls.push_back("error"); })
      .on_done(
          [&](const future<int>& done) { calls.push_back("done " + std::to_string(done.get())); })
      .on_result([&](int v) { calls.push_back("again " + std::to_string(v)); });
  mark(gate);
  p.close();
  p.join();
  EXPECT_EQ(calls, (std::vector<std::string>{"result 1", "done 1", "again 1"}));
}

// Python: test_map_async_callbacks.
TEST_P(PoolFutures, AMapsCallbackGetsTheWholeListOnce) {
  pool p{options()};
  std::vector<std::vector<int>> calls;
  p.map_async(square, std::vector{1, 2, 3}).on_result([&](std::vector<int> v) {
    calls.push_back(std::move(v));
  });
  int void_calls = 0;
  p.map_async([](int) {}, std::vector{1, 2, 3}).on_result([&] { ++void_calls; });
  p.close();
  p.join();
  ASSERT_EQ(calls.size(), 1U);
  EXPECT_EQ(calls[0], (std::vector{1, 4, 9}));
  EXPECT_EQ(void_calls, 1);
}

TEST_P(PoolFutures, CallbacksOfManyTasksAllRunBeforeJoinReturns) {
  pool p{options()};
  int sum = 0;  // no lock: one thread calls
  for (int i = 0; i < 1000; ++i) {
    p.apply_async(add, i, 0).on_result([&](int v) { sum += v; });
  }
  p.close();
  p.join();
  EXPECT_EQ(sum, 499'500);
}

TEST_P(PoolFutures, ACallbackAddedLateRunsToo) {
  pool p{options()};
  auto f = p.apply_async(square, 5);
  auto bad = p.apply_async(fail);
  f.wait();
  bad.wait();
  std::atomic<int> calls{0};
  f.on_result([&](int v) { calls += v; });
  bad.on_error([&](const error&) { calls += 100; });
  EXPECT_TRUE(eventually([&] { return calls == 125; }));
  p.close();
  p.join();
  f.on_result([&](int v) { calls += v; });
  EXPECT_TRUE(eventually([&] { return calls == 150; })) << "after join";
}

TEST_P(PoolFutures, ACallbackAddedAfterThePoolIsGoneMayHoldTheLastReference) {
  future<int> f;
  {
    pool p{options()};
    f = p.apply_async(square, 5);
    p.close();
    p.join();
  }
  std::atomic<int> got{0};
  f.on_result([&](int v) { got = v; });
  f = {};
  EXPECT_TRUE(eventually([&] { return got == 25; }));
}

TEST_P(PoolFutures, ACallbackThatThrowsIsReportedAndTheNextOneRuns) {
  std::mutex mutex;
  std::vector<std::string> reports;
  set_log_hook([&](log_level level, std::string_view text) {
    const std::lock_guard lock{mutex};
    if (level == log_level::error) {
      reports.emplace_back(text);
    }
  });
  int second = 0;
  {
    pool p{options()};
    auto f = p.apply_async(square, 5);
    f.on_result([](int) { throw std::domain_error{"from a callback"}; });
    f.on_result([](int) { throw 42; });
    f.on_result([&](int v) { second = v; });
    p.close();
    p.join();
    EXPECT_EQ(f.get(), 25);
  }
  set_log_hook({});
  EXPECT_EQ(second, 25);
  ASSERT_EQ(reports.size(), 2U);
  EXPECT_NE(reports[0].find("from a callback"), std::string::npos) << reports[0];
  EXPECT_NE(reports[1].find("int"), std::string::npos) << reports[1];
}

TEST_P(PoolFutures, ACallbackThatBlocksDelaysNoOtherFuture) {
  pool p{options()};
  latch_with_watchdog blocked;
  latch_with_watchdog release;
  p.apply_async(square, 1).on_result([&](int) {
    blocked.open();
    release.wait();
  });
  blocked.wait();
  EXPECT_EQ(p.apply(square, 3), 9);
  EXPECT_EQ(p.map(square, std::vector{1, 2, 3}), (std::vector{1, 4, 9}));
  EXPECT_EQ(p.map_async(square, std::vector{4}).get(), std::vector{16});
  EXPECT_EQ(p.workers().size(), 2U);
  release.open();
  p.close();
  p.join();
}

TEST_P(PoolFutures, ACallbackMaySubmitAndWait) {
  pool p{options(1)};
  int second = 0;
  int waited = 0;
  p.apply_async(square, 2).on_result([&](int v) {
    waited = p.apply(square, v);
    p.apply_async(square, 10).on_result([&](int w) { second = w; });
  });
  ASSERT_TRUE(eventually([&] { return p.stats().succeeded == 3; }));
  p.close();
  p.join();
  EXPECT_EQ(waited, 16);
  EXPECT_EQ(second, 100);
}

TEST_P(PoolFutures, ACallbackMayCloseThePool) {
  pool p{options()};
  std::atomic<bool> closed{false};
  auto f = p.apply_async(square, 2);
  f.on_result([&](int) {
    p.close();
    p.join();  // from a callback it waits for all but the callbacks
    closed = true;
  });
  EXPECT_TRUE(eventually([&] { return closed.load(); }));
  EXPECT_TRUE(fails_with(errc::pool_closed, [&] { return p.apply_async(square, 1); }));
  p.join();
}

TEST_P(PoolFutures, ACallbackMayTerminateThePool) {
  pool p{options()};
  auto f = p.apply_async(square, 2);
  f.on_done([&](const future<int>&) { p.terminate(); });
  EXPECT_EQ(f.get(), 4);
  EXPECT_TRUE(eventually([&] {
    try {
      p.join();
      return true;
    } catch (const std::logic_error&) {
      return false;
    }
  }));
}

TEST_P(PoolFutures, OnDoneRunsHoweverItEnded) {
  pool p{options(1)};
  const std::string gate = file("gate");
  std::vector<std::string> ends;
  const auto note = [&](const future<int>& f) {
    ends.emplace_back(f.cancelled() ? "cancelled" : f.successful() ? "value" : "failed");
  };
  auto first = p.apply_async(wait_at, file("running"), gate);
  auto queued = p.apply_async(square, 1);
  first.on_done(note);
  queued.on_done(note);
  EXPECT_TRUE(queued.cancel());
  p.apply_async(fail).on_done(note);
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  mark(gate);
  p.close();
  p.join();
  EXPECT_EQ(ends, (std::vector<std::string>{"cancelled", "value", "failed"}));
}

TEST_P(PoolFutures, ManyThreadsMayWaitForOneFuture) {
  pool p{options()};
  const std::string gate = file("gate");
  auto f = p.apply_async(wait_at, file("running"), gate);
  std::atomic<int> sum{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] { sum += f.get(); });
    }
    mark(gate);
  }
  EXPECT_EQ(sum, 8);
}

}  // namespace
}  // namespace troupe::test
