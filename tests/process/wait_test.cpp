// SPDX-License-Identifier: BSD-3-Clause
// wait and as_completed, after Python's WaitTests and AsCompletedTests.
#include "troupe/wait.hpp"

#include "pool_fixture.hpp"

#include <limits>
#include <list>
#include <map>
#include <thread>
#include <unordered_set>
#include <vector>

namespace troupe::test {
namespace {

struct Wait : pool_test {
  /// One that runs until the gate is opened, and has begun.
  future<int> pending() {
    const std::string name = "pending" + std::to_string(made_++);
    auto f = p.apply_async(wait_at, file(name.c_str()), file("gate"));
    EXPECT_TRUE(eventually([&] { return marks(file(name.c_str())) > 0; }));
    return f;
  }
  future<int> done(int x = 3) {
    auto f = p.apply_async(square, x);
    f.wait();
    return f;
  }
  future<int> failed() {
    auto f = p.apply_async([]() -> int { throw std::runtime_error{"no"}; });
    f.wait();
    return f;
  }
  void open() { mark(file("gate")); }

  int made_ = 0;
  pool p{{.workers = 3}};
};

TEST_F(Wait, ForNothingReturnsAtOnce) {
  const auto [done, pending] = troupe::wait(std::vector<future<int>>{});
  EXPECT_TRUE(done.empty());
  EXPECT_TRUE(pending.empty());
  for (const auto& f : as_completed(std::vector<future<int>>{})) {
    ADD_FAILURE() << f.valid();
  }
}

TEST_F(Wait, ForADefaultConstructedOneIsAnError) {
  const std::vector<future<int>> with_none{done(), {}};
  EXPECT_TRUE(fails_with(errc::no_state, [&] { return troupe::wait(with_none).done.size(); }));
  EXPECT_TRUE(fails_with(errc::no_state, [&] {
    static_cast<void>(as_completed(with_none));
    return 0;
  }));
}

TEST_F(Wait, FirstCompletedSplitsExactly) {
  const std::vector futures{pending(), done(), pending()};
  const auto result = troupe::wait(futures, return_when::first_completed);
  EXPECT_EQ(result.done, std::vector{futures[1]});
  EXPECT_EQ(result.pending, (std::vector{futures[0], futures[2]}));
  open();
}

TEST_F(Wait, FirstCompletedIsWokenByTheFirst) {
  const std::vector futures{pending(), pending()};
  std::thread opener{[this] { open(); }};
  EXPECT_GE(troupe::wait(futures, return_when::first_completed).done.size(), 1U);
  opener.join();
}

TEST_F(Wait, FirstExceptionDoesNotStopAtASuccess) {
  const std::vector futures{done(), failed(), pending()};
  const auto result = troupe::wait(futures, return_when::first_exception);
  EXPECT_EQ(result.done, (std::vector{futures[0], futures[1]}));
  EXPECT_EQ(result.pending, std::vector{futures[2]});
  open();
}

TEST_F(Wait, FirstExceptionEndsOnACancelledOneAndWaitsForAllIfNoneFails) {
  std::vector futures{pending(), pending(), pending(), p.apply_async(square, 2)};
  EXPECT_TRUE(futures[3].cancel());
  EXPECT_EQ(troupe::wait(futures, return_when::first_exception).done, std::vector{futures[3]});
  futures.pop_back();
  std::thread opener{[this] { open(); }};
  EXPECT_EQ(troupe::wait(futures, return_when::first_exception).done.size(), 3U);
  opener.join();
}

TEST_F(Wait, AllCompletedWaitsForAll) {
  const std::vector futures{done(), pending(), failed()};
  std::thread opener{[this] { open(); }};
  const auto result = troupe::wait(futures);
  EXPECT_EQ(result.done, futures);
  EXPECT_TRUE(result.pending.empty());
  opener.join();
}

TEST_F(Wait, TimeoutsMayBeZeroNegativeOrInfinite) {
  const std::vector futures{done(), pending()};
  for (const auto timeout : {0ms, -5ms, std::chrono::milliseconds::min()}) {
    const auto result = troupe::wait(futures, timeout);
    EXPECT_EQ(result.done, std::vector{futures[0]});
    EXPECT_EQ(result.pending, std::vector{futures[1]});
  }
  open();
  EXPECT_EQ(
      troupe::wait(futures, std::chrono::duration<double>{std::numeric_limits<double>::infinity()})
          .done.size(),
      2U);
  EXPECT_EQ(troupe::wait(futures, std::chrono::hours::max()).done.size(), 2U);
}

TEST_F(Wait, TheSameOneTwiceCountsOnce) {
  const auto a = done();
  const auto b = pending();
  const std::vector twice{a, b, a, b, b};
  const auto result = troupe::wait(twice, 0s);
  EXPECT_EQ(result.done, std::vector{a});
  EXPECT_EQ(result.pending, std::vector{b});
  open();
  int count = 0;
  for (const auto& f : as_completed(twice)) {
    EXPECT_TRUE(f.ready());
    ++count;
  }
  EXPECT_EQ(count, 2);
}

TEST_F(Wait, EveryWaiterIsWokenHoweverAFutureEnds) {
  std::vector futures{pending(), pending(), pending()};
  futures.push_back(p.apply_async(square, 2));  // queued
  std::vector<std::thread> waiters;
  std::atomic<int> woken{0};
  waiters.reserve(4);
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] {
      EXPECT_EQ(troupe::wait(futures).done.size(), 4U);
      ++woken;
    });
  }
  p.terminate();
  for (auto& waiter : waiters) {
    waiter.join();
  }
  EXPECT_EQ(woken, 4);
}

TEST_F(Wait, ADeathWakesToo) {
  const std::vector futures{p.apply_async([] { ::raise(SIGKILL); })};
  EXPECT_EQ(troupe::wait(futures, return_when::first_exception).done.size(), 1U);
  EXPECT_THROW(futures[0].get(), worker_lost);
}

TEST_F(Wait, AsCompletedGivesWhatIsDoneFirstAndThenTimesOut) {
  const std::vector futures{pending(), done(), pending(), failed()};
  std::vector<future<int>> seen;
  try {
    for (const auto& f : as_completed(futures, 1ms)) {
      seen.push_back(f);
    }
    ADD_FAILURE() << "no timeout";
  } catch (const timeout_error& e) {
    EXPECT_NE(std::string{e.what()}.find("2 (of 4) futures unfinished"), std::string::npos)
        << e.what();
  }
  EXPECT_EQ(seen, (std::vector{futures[1], futures[3]}));
  seen.clear();
  try {
    for (const auto& f : as_completed(futures, 0s)) {
      seen.push_back(f);
    }
  } catch (const timeout_error&) {
  }
  EXPECT_EQ(seen.size(), 2U);
  open();
}

TEST_F(Wait, AsCompletedTakesKeysOfMapsAndAnyRange) {
  std::map<future<int>, int> input_of;
  for (int i = 0; i < 200; ++i) {
    input_of.emplace(p.apply_async(square, i), i);
  }
  int seen = 0;
  for (const future<int> f : as_completed(input_of | std::views::keys)) {
    const int x = input_of.at(f);
    EXPECT_EQ(f.get(), x * x);
    ++seen;
  }
  EXPECT_EQ(seen, 200);
  const std::list<future<int>> listed{done(1), done(2)};
  EXPECT_EQ(troupe::wait(listed).done.size(), 2U);
  std::unordered_set<future<int>> hashed{done(1), done(2)};
  EXPECT_EQ(troupe::wait(hashed).done.size(), 2U);
}

TEST_F(Wait, AsCompletedLetsGoOfWhatItGave) {
  std::vector<future<std::string>> futures;
  for (int i = 0; i < 10; ++i) {
    futures.push_back(p.apply_async([](int n) { return std::string(1000, char('a' + n)); }, i));
  }
  auto range = as_completed(std::move(futures));
  std::size_t bytes = 0;
  for (auto it = range.begin(); it != range.end(); ++it) {
    bytes += (*it).get().size();
  }
  EXPECT_EQ(bytes, 10'000U);
}

TEST_F(Wait, AFutureOfAMapIsAFutureToo) {
  const std::vector maps{p.map_async(square, std::vector{1, 2}),
                         p.map_async(square, std::vector{3})};
  EXPECT_EQ(troupe::wait(maps).done.size(), 2U);
}

TEST_F(Wait, GivingUpManyTimesLeavesNothingBehind) {
  const std::vector futures{pending()};
  for (int i = 0; i < 10'000; ++i) {
    EXPECT_TRUE(troupe::wait(futures, 0s).done.empty());
  }
  open();
}

}  // namespace
}  // namespace troupe::test
