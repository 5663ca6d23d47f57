// SPDX-License-Identifier: BSD-3-Clause
// A map over threads returns, throws or is destroyed only when nothing of it runs any more: its
// function may refer to the frame that ends then. What runs is asked to stop.
#include "troupe/executor.hpp"
#include "troupe/task.hpp"
#include "troupe/this_task.hpp"
#include "troupe/thread_pool.hpp"

#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

/// Long enough for what must not happen to happen; nothing else waits for it.
constexpr auto a_while = 200ms;

/// How many items are in their function.
class inside {
 public:
  class visit {
   public:
    explicit visit(inside& of) : of_{of} { ++of_.now_; }
    ~visit() { --of_.now_; }
    visit(const visit&) = delete;
    visit& operator=(const visit&) = delete;

   private:
    inside& of_;
  };

  [[nodiscard]] int now() const { return now_; }
  bool wait_for(int count) {
    return eventually([this, count] { return now_ >= count; });
  }
  /// For an item: until it is asked to stop.
  int until_stopped() {
    const visit here{*this};
    const std::stop_token stop = this_task::stop_token();
    if (eventually([&] { return stop.stop_requested(); })) {
      ++stopped;
    }
    return 0;
  }
  task<int> until_cancelled() {
    const visit here{*this};
    try {
      co_await sleep_for(1h);
    } catch (const std::system_error&) {
      ++stopped;
      throw;
    }
    co_return 0;
  }
  std::atomic<int> stopped{0};

 private:
  std::atomic<int> now_{0};
};

struct ThreadMapEnd : pool_test {};

/// Runs what must throw; whether nothing was inside of the function at that moment.
template <class Thrown, class Run>
testing::AssertionResult throws_when_nothing_runs(const inside& items, Run&& run) {
  try {
    run();
  } catch (const Thrown&) {
    if (const int left = items.now(); left != 0) {
      return testing::AssertionFailure() << left << " items still ran";
    }
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << "nothing was thrown";
}

// Issue 9, 2.
TEST_F(ThreadMapEnd, MapThrowsWhenWhatRanHasStopped) {
  thread_pool p{{.workers = 2}};
  thread_pool_executor ex{{.workers = 2}};
  const std::vector<int> input{0, 1, 2, 3, 4, 5, 6};
  for (const std::size_t chunk : {0U, 1U}) {  // 3 and 4 are in one submission, or not
    inside items;
    const auto fourth_fails = [&](int i) {
      if (i < 3) {
        return i;
      }
      if (i == 3 && items.wait_for(1)) {
        throw std::out_of_range{"the fourth"};
      }
      return items.until_stopped();
    };
    const auto of_pairs = [&](int i, int) { static_cast<void>(fourth_fails(i)); };
    EXPECT_TRUE(throws_when_nothing_runs<std::out_of_range>(
        items, [&] { p.map(fourth_fails, input, {.chunk = chunk}); }));
    EXPECT_TRUE(throws_when_nothing_runs<std::out_of_range>(items, [&] {
      p.starmap(of_pairs, input | std::views::transform([](int i) { return std::pair{i, i}; }),
                {.chunk = chunk});
    }));
    EXPECT_TRUE(throws_when_nothing_runs<std::out_of_range>(
        items, [&] { ex.map({.chunk = chunk}, of_pairs, input, input); }));
    EXPECT_EQ(items.stopped, 3);
  }
  EXPECT_EQ(p.apply(square, 3), 9);
}

// Issue 9, 2.
TEST_F(ThreadMapEnd, AFailureStopsOnlyWhatComesBehindIt) {
  thread_pool p{{.workers = 3}};
  inside items;
  const auto work = [&](int i) {
    switch (i) {
      case 0: {
        const std::stop_token stop = this_task::stop_token();
        static_cast<void>(eventually([&] { return items.stopped == 1; }));
        EXPECT_FALSE(stop.stop_requested());
        return 0;
      }
      case 1:
        if (items.wait_for(1)) {
          throw std::out_of_range{"the second"};
        }
        return 0;
      default:
        return items.until_stopped();
    }
  };
  EXPECT_TRUE(throws_when_nothing_runs<std::out_of_range>(
      items, [&] { p.map(work, std::vector{0, 1, 2}, {.chunk = 1}); }));
  EXPECT_EQ(items.stopped, 1);
}

// Issue 9, 2.
TEST_F(ThreadMapEnd, RangesThatAreLeftStopWhatRuns) {
  thread_pool p{{.workers = 2}};
  thread_pool_executor ex{{.workers = 2}};
  inside items;
  const auto work = [&](int i) { return i == 0 ? 0 : items.until_stopped(); };
  const std::vector<int> input{0, 1, 2, 3, 4, 5};
  {
    auto results = p.imap(work, input, {.chunk = 1});
    results.begin();
    ASSERT_TRUE(items.wait_for(1));
  }
  EXPECT_EQ(items.now(), 0);
  EXPECT_GE(items.stopped.exchange(0), 1);
  {
    auto results = p.imap_unordered(work, input, {.chunk = 1});
    results.begin();
    ASSERT_TRUE(items.wait_for(1));
    auto others = std::move(results);
  }
  EXPECT_EQ(items.now(), 0);
  EXPECT_GE(items.stopped.exchange(0), 1);
  {
    auto results = ex.map({.chunk = 1}, work, input);
    results.begin();
    ASSERT_TRUE(items.wait_for(1));
  }
  EXPECT_EQ(items.now(), 0);
  EXPECT_GE(items.stopped.exchange(0), 1);
  EXPECT_TRUE(throws_when_nothing_runs<std::out_of_range>(items, [&] {
    for ([[maybe_unused]] const int result : p.imap(
             [&](int i) {
               if (i == 0) {
                 throw std::out_of_range{"the first"};
               }
               return items.until_stopped();
             },
             input, {.chunk = 1})) {
    }
  }));
}

// Issue 9, 2.
TEST_F(ThreadMapEnd, AMapWhoseTimeIsOverThrowsWhenWhatRanHasStopped) {
  thread_pool_executor ex{{.workers = 2}};
  inside items;
  const auto work = [&](int) { return items.until_stopped(); };
  EXPECT_TRUE(throws_when_nothing_runs<timeout_error>(items, [&] {
    ex.map({.timeout = 5ms}, [&](int i) { static_cast<void>(work(i)); }, std::vector{1, 2, 3});
  }));
  EXPECT_TRUE(throws_when_nothing_runs<timeout_error>(items, [&] {
    for ([[maybe_unused]] const int result : ex.map({.timeout = 5ms}, work, std::vector{1, 2})) {
    }
  }));
}

/// Numbers, and then an exception once `ready`.
auto input_that_throws(std::function<void()> ready) {
  return std::views::iota(0, 1000) | std::views::transform([ready = std::move(ready)](int i) {
           if (i == 4) {
             ready();
             throw std::range_error{"the input"};
           }
           return i;
         });
}

// Issue 9, 2.
TEST_F(ThreadMapEnd, MapAsyncThatCannotGiveAFutureLeavesNothingRunning) {
  thread_pool p{{.workers = 2}};
  inside items;
  const auto work = [&](int) { return items.until_stopped(); };
  EXPECT_TRUE(throws_when_nothing_runs<std::range_error>(items, [&] {
    p.map_async(work, input_that_throws([&] { static_cast<void>(items.wait_for(1)); }),
                {.chunk = 1});
  }));
  EXPECT_GE(items.stopped, 1);
  EXPECT_TRUE(throws_when_nothing_runs<pool_closed>(items, [&] {
    p.map_async(work, std::views::iota(0, 100) | std::views::transform([&](int i) {
                        if (i == 20) {
                          static_cast<void>(items.wait_for(1));
                          p.close();
                        }
                        return i;
                      }),
                {.chunk = 1});
  }));
}

// Issue 9, 2: a thread cannot be killed.
TEST_F(ThreadMapEnd, AnItemThatDoesNotListenIsWaitedForAfterItsTimeout) {
  thread_pool p{{.workers = 1, .grace = 1ms}};
  std::atomic<bool> caught{false};
  inside items;
  EXPECT_TRUE(throws_when_nothing_runs<timeout_error>(items, [&] {
    p.with({.timeout = 1ms})
        .map(
            [&](int) {
              const inside::visit here{items};
              static_cast<void>(eventually([&] { return p.stats().failed > 0; }));
              static_cast<void>(eventually([&] { return caught.load(); }, a_while));
            },
            std::vector{1});
    caught = true;
  }));
}

// Issue 9, 2.
TEST_F(ThreadMapEnd, APredicateIsWaitedFor) {
  thread_pool p{{.workers = 2}};
  std::atomic<bool> left{false};
  std::atomic<bool> used_after{false};
  inside asking;
  const auto predicate = [&](const error&) {
    const inside::visit here{asking};
    static_cast<void>(eventually([&] { return left.load(); }, a_while));
    used_after = left.load();
    return true;
  };
  {
    auto results = p.with({.retries = 3, .retry_if = predicate})
                       .imap_unordered(
                           [](int i) {
                             if (i == 0) {
                               throw std::out_of_range{"not yet"};
                             }
                             return i;
                           },
                           std::vector{0, 1}, {.chunk = 1});
    ASSERT_TRUE(asking.now() == 0);
    results.begin();
    ASSERT_TRUE(asking.wait_for(1));
  }
  left = true;
  EXPECT_EQ(asking.now(), 0);
  EXPECT_FALSE(used_after);
}

// Issue 9, 2.
TEST_F(ThreadMapEnd, ItsCoroutinesAreCancelled) {
  thread_pool p{{.workers = 2, .concurrency = 4}};
  inside items;
  const auto work = [&](int i) -> task<int> {
    if (i == 0) {
      co_return 0;
    }
    co_return co_await items.until_cancelled();
  };
  const std::vector<int> input{0, 1, 2, 3, 4};
  {
    auto results = p.imap(work, input, {.chunk = 1});
    results.begin();
    ASSERT_TRUE(items.wait_for(3));
  }
  EXPECT_EQ(items.now(), 0);
  EXPECT_GE(items.stopped.exchange(0), 3);
  EXPECT_TRUE(throws_when_nothing_runs<std::out_of_range>(items, [&] {
    p.map(
        [&](int i) -> task<int> {
          if (i == 0) {
            while (items.now() < 4) {
              co_await sleep_for(1ms);
            }
            throw std::out_of_range{"the first"};
          }
          co_return co_await items.until_cancelled();
        },
        input, {.chunk = 5});
  }));
  EXPECT_EQ(items.stopped, 4);
  EXPECT_EQ(p.stats().failed, 1U) << "the others were cancelled";
}

// ---- in tasks of the same pool ------------------------------------------------------------------

// Issue 9, 2.
TEST_F(ThreadMapEnd, InATaskOfTheSamePoolNothingHangs) {
  for (const int workers : {1, 2, 3}) {
    thread_pool p{{.workers = workers, .concurrency = 3}};
    for (int round = 0; round < 20; ++round) {
      EXPECT_EQ(p.apply([&] {
        inside items;
        int sum = 0;
        const auto work = [&, consumer = std::this_thread::get_id()](int i) {
          // Where the results are waited for, which another item of it may be, too.
          const bool on_its_stack = std::this_thread::get_id() == consumer;
          return i < 3 || on_its_stack ? i : items.until_stopped();
        };
        for (const int result : p.imap(work, std::views::iota(0, 8), {.chunk = 1, .window = 4})) {
          sum += result;
          if (result == 2) {
            break;
          }
        }
        EXPECT_EQ(items.now(), 0);
        // Its coroutines may be on the thread that leaves the map.
        {
          auto results = p.imap_unordered(
              [&](int i) -> task<int> {
                if (i == 0) {
                  co_return 0;
                }
                co_return co_await items.until_cancelled();
              },
              std::vector{1, 0, 2}, {.chunk = 1});
          results.begin();
        }
        EXPECT_EQ(items.now(), 0);
        return sum;
      }),
                3);
    }
  }
}

// Issue 9, 2.
TEST_F(ThreadMapEnd, InATaskOfTheSamePoolTheWorkerRunsOthersMeanwhile) {
  thread_pool_executor ex{{.workers = 2}};
  std::atomic<int> done{0};
  auto bound = ex.with({.affinity = "key"});
  auto leaves = bound.submit([&] {
    std::latch begun{1};
    auto results = ex.map(
        [&](int) {
          begun.count_down();
          const std::stop_token stop = this_task::stop_token();
          static_cast<void>(eventually([&] { return stop.stop_requested(); }));
          // For this it needs the worker that leaves the map.
          ex.with({.affinity = "key"}).submit([&] { ++done; }).get();
          return 1;
        },
        std::vector{0});
    begun.wait();
    throw std::out_of_range{"leaves"};  // a map that was not read goes on where no exception passes
  });
  ASSERT_TRUE(leaves.wait_for(eventually_deadline));
  EXPECT_THROW(leaves.get(), std::out_of_range);
  EXPECT_EQ(done, 1);
}

// Issue 9, 2.
TEST_F(ThreadMapEnd, AnItemMayEndItsOwnMap) {
  thread_pool p{{.workers = 2}};
  std::latch begun{1};
  std::latch over{1};
  inside items;
  using range = decltype(p.imap(std::function<int(int)>{}, std::vector<int>{}));
  std::optional<range> results;
  const std::function<int(int)> work = [&](int i) {
    if (i == 1) {
      begun.wait();
      results.reset();  // waits for the third, and not for itself
      EXPECT_EQ(items.now(), 0);
      over.count_down();
    }
    return i == 2 ? items.until_stopped() : i;
  };
  results.emplace(p.imap(work, std::vector{0, 1, 2}, {.chunk = 1}));
  results->begin();
  begun.count_down();
  over.wait();
}

// Issue 9, 2.
TEST_F(ThreadMapEnd, ACoroutineMayEndItsOwnMap) {
  thread_pool p{{.workers = 1, .concurrency = 3}};
  std::atomic<bool> begun{false};
  std::latch over{1};
  inside items;
  using range = decltype(p.imap(std::function<task<int>(int)>{}, std::vector<int>{}));
  std::optional<range> results;
  const std::function<task<int>(int)> work = [&](int i) -> task<int> {
    if (i == 1) {
      while (!begun || items.now() == 0) {
        co_await sleep_for(1ms);
      }
      results.reset();
      EXPECT_EQ(items.now(), 0);
      over.count_down();
    }
    if (i == 2) {
      co_return co_await items.until_cancelled();
    }
    co_return i;
  };
  results.emplace(p.imap(work, std::vector{0, 1, 2}, {.chunk = 1}));
  results->begin();
  begun = true;
  over.wait();
}

TEST_F(ThreadMapEnd, ARangeMayOutliveItsPool) {
  inside items;
  auto p = std::make_unique<thread_pool>(thread_pool_options{.workers = 2});
  auto results = p->imap([&](int i) { return i == 0 ? 0 : items.until_stopped(); },
                         std::vector{0, 1, 2, 3}, {.chunk = 1});
  results.begin();
  ASSERT_TRUE(items.wait_for(1));
  p.reset();
  EXPECT_EQ(items.now(), 0);
}

}  // namespace
}  // namespace troupe::test
