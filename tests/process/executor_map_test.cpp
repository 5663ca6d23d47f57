// SPDX-License-Identifier: BSD-3-Clause
// Which items of an executor's map run: all of them, whether the results are read or not, and
// when the results can be read.
#include "troupe/executor.hpp"

#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <atomic>
#include <latch>
#include <list>
#include <mutex>
#include <optional>
#include <ranges>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

int leave_mark(const std::string& path, int item) {
  mark(path);
  return item;
}

int fail_at_five(int item) {
  if (item == 5) {
    throw std::domain_error{"five"};
  }
  return item;
}

struct input_failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

bool even(int i) {
  return i % 2 == 0;
}

/// Numbers that are still to be found: no size, and an end.
auto even_numbers(int count) {
  return std::views::iota(0, 2 * count) | std::views::filter(even);
}

/// 0, 1, 2, ... for ever, which its type does not tell. Counts what is pulled.
class never_ending {
 public:
  explicit never_ending(std::atomic<int>* pulled) : pulled_{pulled} {}
  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    iterator() = default;
    explicit iterator(std::atomic<int>* pulled) : pulled_{pulled} {}
    int operator*() const { return pulled_->fetch_add(1); }
    iterator& operator++() { return *this; }
    void operator++(int) {}
    friend bool operator==(const iterator&, std::default_sentinel_t) { return false; }

   private:
    std::atomic<int>* pulled_ = nullptr;
  };
  [[nodiscard]] iterator begin() const { return iterator{pulled_}; }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

 private:
  std::atomic<int>* pulled_;
};

template <class Executor>
class ExecutorMap : public pool_test {
 protected:
  static typename Executor::options options(int workers = 2) {
    typename Executor::options how;
    how.workers = workers;
    return how;
  }
  [[nodiscard]] std::vector<std::string> paths(int count) {
    return std::vector<std::string>(static_cast<std::size_t>(count), file("ran"));
  }
  [[nodiscard]] std::size_t ran() { return marks(file("ran")); }
  /// Keeps the only worker busy until `release`: how much a map pulls ahead depends on how long
  /// tasks take, and none has ended.
  void hold(Executor& ex) {
    static_cast<void>(ex.submit(wait_at, file("held"), file("gate")));
    ASSERT_TRUE(eventually([&] { return marks(file("held")) > 0; }));
  }
  void release() { mark(file("gate")); }
};
using both = testing::Types<process_pool_executor, thread_pool_executor>;
struct both_names {
  template <class Executor>
  static std::string GetName(int) {
    return std::is_same_v<Executor, thread_pool_executor> ? "threads" : "processes";
  }
};
TYPED_TEST_SUITE(ExecutorMap, both, both_names);

template <class Executor, class Range>
using range_of = decltype(std::declval<Executor&>().map(square, std::declval<Range>()));

// ---- maps with results that are not read
// ------------------------------------------------------------------

TYPED_TEST(ExecutorMap, RunsAllItemsThoughTheResultIsDropped) {
  {
    TypeParam ex{this->options()};
    ex.map(leave_mark, this->paths(1000), std::views::iota(0, 1000));
  }
  EXPECT_EQ(this->ran(), 1000U);
}

TYPED_TEST(ExecutorMap, RunsAllItemsThoughTheResultIsNotRead) {
  {
    TypeParam ex{this->options()};
    const auto results = ex.map(leave_mark, this->paths(1000), std::views::iota(0, 1000));
  }
  EXPECT_EQ(this->ran(), 1000U);
}

TYPED_TEST(ExecutorMap, RunsAllItemsOfARangeWithoutASizeThoughTheResultIsDropped) {
  {
    TypeParam ex{this->options()};
    ex.map(leave_mark, this->paths(300), even_numbers(300));
    ex.with({.priority = 1}).map(leave_mark, this->paths(300), even_numbers(300));
  }
  EXPECT_EQ(this->ran(), 600U);
}

TYPED_TEST(ExecutorMap, RunsAllItemsThoughOtherMapsComeAndGo) {
  {
    TypeParam ex{this->options()};
    auto first = ex.map(leave_mark, this->paths(100), even_numbers(100));
    for (int i = 0; i < 100; ++i) {
      ex.map(square, even_numbers(3));
    }
    const auto last = ex.map(leave_mark, this->paths(100), even_numbers(100));
    ex.shutdown();
    EXPECT_EQ(this->ran(), 200U);
    EXPECT_EQ(*first.begin(), 0);
  }
  EXPECT_EQ(this->ran(), 200U);
}

TYPED_TEST(ExecutorMap, CancelsWhatHasNotBegunWhenItIsDroppedAfterBegin) {
  TypeParam ex{this->options(1)};
  const auto held = ex.submit(wait_at, this->file("held"), this->file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("held")) > 0; }));
  {
    auto results = ex.map({.chunk = 1}, wait_at, std::vector<std::string>(50, this->file("ran")),
                          std::vector<std::string>(50, this->file("second gate")));
    mark(this->file("gate"));
    ASSERT_TRUE(eventually([&] { return this->ran() == 1; }));
    std::jthread opener{[&] {
      static_cast<void>(held.wait_for(10ms));
      mark(this->file("second gate"));
    }};
    EXPECT_EQ(*results.begin(), 1);
  }
  const auto report = ex.shutdown();
  EXPECT_TRUE(report.complete);
  EXPECT_LE(this->ran(), 50U);
  EXPECT_EQ(ex.stats().cancelled, 50 - this->ran());
}

// ---- maps with results that are read later
// ----------------------------------------------------------------

TYPED_TEST(ExecutorMap, ResultsAreReadAfterTheScopeOfTheExecutor) {
  for (const int workers : {1, 4}) {
    for (const int count : {1, 8, 50, 2000}) {
      SCOPED_TRACE(std::to_string(workers) + " workers, " + std::to_string(count) + " items");
      using range = range_of<TypeParam, std::vector<int>&>;
      std::vector<int> input;
      for (int i = 0; i < count; ++i) {
        input.push_back(i % 1000);
      }
      std::optional<range> results;
      {
        TypeParam ex{this->options(workers)};
        results.emplace(ex.map(square, input));
        input.clear();  // it is not needed any more
        input.shrink_to_fit();
      }
      int next = 0;
      for (const int y : *results) {
        ASSERT_EQ(y, square(next++ % 1000));
      }
      EXPECT_EQ(next, count);
    }
  }
}

TYPED_TEST(ExecutorMap, ResultsOfARangeWithoutASizeAreReadAfterTheScopeOfTheExecutor) {
  std::optional<range_of<TypeParam, decltype(even_numbers(1))>> results;
  {
    TypeParam ex{this->options()};
    results.emplace(ex.map(square, even_numbers(500)));
    auto first = results->begin();
    ++first;
    EXPECT_EQ(*first, 4) << "reading has begun";
  }
  int next = 2;
  for (const int y : *results) {
    ASSERT_EQ(y, square(2 * next++));
  }
  EXPECT_EQ(next, 500);
}

TYPED_TEST(ExecutorMap, APartOfTheRangesWithoutASizeOrAnEndIsEnoughToBeLazyNotToBeDropped) {
  std::vector<int> sums;
  {
    TypeParam ex{this->options()};
    const std::vector<int> xs(500, 1);
    auto results = ex.map(add, std::views::iota(0), xs);
    ex.shutdown({.wait = false});
    for (const int sum : results) {
      sums.push_back(sum);
    }
  }
  ASSERT_EQ(sums.size(), 500U);
  EXPECT_EQ(sums.back(), 500);
}

TYPED_TEST(ExecutorMap, TheFailureOfAnItemComesAtItsPositionAndWithholdsNothing) {
  using range = decltype(std::declval<TypeParam&>().map(fail_at_five, std::views::iota(0, 100)));
  std::optional<range> results;
  {
    TypeParam ex{this->options()};
    results.emplace(ex.map(fail_at_five, std::views::iota(0, 100)));
  }
  int at = 0;
  for (auto it = results->begin(); it != results->end(); ++it, ++at) {
    if (at == 5) {
      EXPECT_THROW(static_cast<void>(*it), std::domain_error);
    } else {
      EXPECT_EQ(*it, at);
    }
  }
  EXPECT_EQ(at, 100);
}

TYPED_TEST(ExecutorMap, WhatTheInputThrowsComesBehindTheResultsBeforeIt) {
  auto input = std::views::iota(0, 100) | std::views::transform([](int i) {
                 if (i == 50) {
                   throw input_failed{"fifty"};
                 }
                 return i;
               });
  std::optional<range_of<TypeParam, decltype(input)&>> results;
  {
    TypeParam ex{this->options()};
    results.emplace(ex.map(square, input));
  }
  int next = 0;
  auto it = results->begin();
  for (; next < 49; ++next, ++it) {
    ASSERT_EQ(*it, square(next));
  }
  EXPECT_EQ(*it, square(49));
  EXPECT_THROW(++it, input_failed);
  EXPECT_THROW(static_cast<void>(*it), input_failed);
  ++it;
  EXPECT_TRUE(it == results->end());
}

TYPED_TEST(ExecutorMap, AfterItsTimeTheResultsThatAreThereCanStillBeRead) {
  TypeParam ex{this->options(2)};
  auto results = ex.map(
      {.chunk = 1, .timeout = 1s},
      [](const std::string& running, const std::string& gate, int i) {
        return i == 1 ? wait_at(running, gate) : i;
      },
      std::vector<std::string>(4, this->file("held")),
      std::vector<std::string>(4, this->file("gate")), std::views::iota(0, 4));
  ASSERT_TRUE(eventually([&] { return ex.stats().succeeded == 3; }));
  auto it = results.begin();
  EXPECT_EQ(*it, 0);
  EXPECT_THROW(++it, timeout_error);
  EXPECT_THROW(static_cast<void>(*it), timeout_error);
  EXPECT_FALSE(it == results.end());
  ++it;
  EXPECT_EQ(*it, 2);
  ++it;
  EXPECT_EQ(*it, 3);
  ++it;
  EXPECT_TRUE(it == results.end());
  mark(this->file("gate"));
}

// ---- which are pulled when
// -----------------------------------------------------------------------

TYPED_TEST(ExecutorMap, PullsSizedRangesBeforeItReturns) {
  TypeParam ex{this->options(1)};
  int pulled = 0;
  const auto input = std::views::iota(0, 3000) | std::views::transform([&](int i) {
                       ++pulled;
                       return i;
                     });
  const auto results = ex.map(add, std::vector<int>{}, input);
  EXPECT_EQ(pulled, 0) << "the shortest has nothing";
  const auto more = ex.map({.chunk = 16}, square, input);
  EXPECT_EQ(pulled, 3000);
  EXPECT_TRUE(eventually([&] { return ex.stats().submitted == 3000; }));
}

TYPED_TEST(ExecutorMap, WaitsForRoomInTheQueueWhileItPulls) {
  auto how = this->options(1);
  how.max_queued = 3;
  TypeParam ex{how};
  const auto held = ex.submit(wait_at, this->file("held"), this->file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(this->file("held")) > 0; }));
  std::atomic<int> pulled{0};
  std::vector<int> results;
  std::jthread mapper{[&] {
    const auto input = std::views::iota(0, 500) | std::views::transform([&](int i) {
                         pulled = i + 1;
                         return i;
                       });
    for (const int y : ex.map(square, input)) {
      results.push_back(y);
    }
  }};
  EXPECT_TRUE(eventually([&] { return pulled >= 3; }));
  EXPECT_LE(ex.stats().queued, 3U);
  EXPECT_LT(pulled, 20);
  mark(this->file("gate"));
  mapper.join();
  ASSERT_EQ(results.size(), 500U);
  EXPECT_EQ(results.back(), square(499));
}

TYPED_TEST(ExecutorMap, ShutdownPullsTheRestOnTheThreadThatCallsIt) {
  TypeParam ex{this->options(1)};
  this->hold(ex);
  std::set<std::thread::id> pullers;
  int pulled = 0;
  auto results = ex.map(square, even_numbers(400) | std::views::transform([&](int i) {
                                  pullers.insert(std::this_thread::get_id());
                                  ++pulled;
                                  return i;
                                }));
  EXPECT_LT(pulled, 400);
  EXPECT_GT(pulled, 0);
  pullers.clear();
  this->release();
  std::thread::id ended_by;
  std::jthread{[&] {
    ended_by = std::this_thread::get_id();
    EXPECT_TRUE(ex.shutdown().complete);
  }}.join();
  EXPECT_EQ(pullers, std::set{ended_by});
  EXPECT_EQ(pulled, 400);
  int next = 0;
  for (const int y : results) {
    ASSERT_EQ(y, square(2 * next++));
  }
  EXPECT_EQ(next, 400);
}

TYPED_TEST(ExecutorMap, ShutdownThatCancelsDoesNotPull) {
  TypeParam ex{this->options(1)};
  this->hold(ex);
  int pulled = 0;
  auto results = ex.map(square, even_numbers(400) | std::views::transform([&](int i) {
                                  ++pulled;
                                  return i;
                                }));
  const int before = pulled;
  EXPECT_LT(before, 400);
  this->release();
  ex.shutdown({.cancel_pending = true});
  EXPECT_EQ(pulled, before);
}

TYPED_TEST(ExecutorMap, AScopeThatAnExceptionLeavesDoesNotPull) {
  int pulled = 0;
  try {
    TypeParam ex{this->options(1)};
    this->hold(ex);
    const auto results = ex.map(square, even_numbers(400) | std::views::transform([&](int i) {
                                          ++pulled;
                                          return i;
                                        }));
    EXPECT_LT(pulled, 400);
    this->release();
    throw input_failed{"of the scope"};
  } catch (const input_failed&) {
  }
  EXPECT_LT(pulled, 400);
}

TYPED_TEST(ExecutorMap, WithAWindowWhatWasNotPulledIsDropped) {
  std::optional<range_of<TypeParam, std::vector<int>>> results;
  {
    TypeParam ex{this->options()};
    results.emplace(ex.map({.chunk = 1, .window = 7}, square, std::vector<int>(100, 3)));
    ex.map({.window = 5}, leave_mark, this->paths(100), std::views::iota(0, 100));
  }
  EXPECT_EQ(this->ran(), 5U);
  int taken = 0;
  try {
    for (const int y : *results) {
      EXPECT_EQ(y, 9);
      ++taken;
    }
    ADD_FAILURE() << "nothing was said of the rest";
  } catch (const pool_closed&) {
  }
  EXPECT_EQ(taken, 7);
}

TYPED_TEST(ExecutorMap, OfARangeWithoutAnEndStaysLazy) {
  std::atomic<int> pulled{0};
  const auto odd = [&](int i) {
    pulled = i;
    return i % 2 == 1;
  };
  auto endless = std::views::iota(0) | std::views::filter(odd) |
                 std::views::transform([](int i) { return i % 100; });
  std::optional<range_of<TypeParam, decltype(endless)&>> results;
  {
    TypeParam ex{this->options()};
    results.emplace(ex.map(square, endless));
    EXPECT_GT(pulled, 0);
    ex.shutdown();
  }
  const int at_the_end = pulled;
  EXPECT_EQ(*results->begin(), 1);
  EXPECT_EQ(pulled, at_the_end);
}

TYPED_TEST(ExecutorMap, ShutdownDoesNotPullLongerThanItsDeadline) {
  std::atomic<int> pulled{0};
  TypeParam ex{this->options()};
  auto results =
      ex.map(square, never_ending{&pulled} | std::views::transform([](int i) { return i % 100; }));
  EXPECT_GT(pulled, 0);
  const auto begun = std::chrono::steady_clock::now();
  ex.shutdown({.cancel_pending = false, .deadline = 50ms});
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 50ms);
  const int at_the_end = pulled;
  EXPECT_EQ(*results.begin(), 0);
  EXPECT_EQ(pulled, at_the_end);
}

TYPED_TEST(ExecutorMap, IsReadByOneThreadWhileAnotherEndsTheExecutor) {
  for (int round = 0; round < 5; ++round) {
    TypeParam ex{this->options()};
    auto results = ex.map(square, even_numbers(1000));
    std::latch reading{1};
    std::jthread ender{[&] {
      reading.wait();
      ex.shutdown();
    }};
    int next = 0;
    for (const int y : results) {
      ASSERT_EQ(y, square(2 * next));
      if (++next == 10 + 50 * round) {
        reading.count_down();
      }
    }
    EXPECT_EQ(next, 1000);
  }
}

// Issue 9, 16.
TEST(ExecutorMapOnThreads, ATaskReadsOrDropsItsRangeWhileAnotherThreadEndsTheExecutor) {
  constexpr int items = 20'000;  // more than the largest window
  enum class then { read_all, read_one, drop };
  for (const then what : {then::read_all, then::read_one, then::drop}) {
    thread_pool_executor ex{{.workers = 1, .max_queued = 2}};
    std::atomic<bool> ending{false};
    std::latch pulled_at_the_end{1};
    std::once_flag told;
    auto results =
        std::optional{ex.map(square, even_numbers(items) | std::views::transform([&](int i) {
                                       if (ending || i == 2 * (items - 1)) {
                                         std::call_once(told, [&] {
                                           pulled_at_the_end.count_down();
                                           if (ending) {  // needs the worker
                                             EXPECT_EQ(ex.submit(square, 3).get(), 9);
                                           }
                                         });
                                       }
                                       return i;
                                     }))};
    // It has the only worker, and the other thread, which has the input then, soon waits for room.
    const future<int> task = ex.submit([&] {
      pulled_at_the_end.wait();
      int read = 0;
      if (what != then::drop) {
        for (const int y : *results) {
          EXPECT_EQ(y, square(2 * read++));
          if (what == then::read_one) {
            break;
          }
        }
      }
      results.reset();
      return read;
    });
    ending = true;
    ex.shutdown();
    EXPECT_EQ(task.get(), what == then::read_all ? items : what == then::read_one ? 1 : 0);
  }
}

TYPED_TEST(ExecutorMap, OfAnEndedExecutorIsRefused) {
  TypeParam ex{this->options()};
  ex.shutdown();
  EXPECT_THROW(ex.map(square, std::vector{1}), pool_closed);
  EXPECT_THROW(ex.map(square, even_numbers(10)), pool_closed);
  EXPECT_THROW(static_cast<void>(ex.map(square, std::views::iota(0))), pool_closed);
}

TYPED_TEST(ExecutorMap, AnInputThatEndsTheExecutorGetsWhatWasPulled) {
  TypeParam ex{this->options()};
  auto results = ex.map(square, even_numbers(1000) | std::views::transform([&](int i) {
                                  if (i == 800) {
                                    ex.shutdown({.wait = false});
                                  }
                                  return i;
                                }));
  int next = 0;
  try {
    for (const int y : results) {
      ASSERT_EQ(y, square(2 * next++));
    }
    ADD_FAILURE() << "nothing was said of the rest";
  } catch (const pool_closed&) {
  }
  EXPECT_GT(next, 0);
  EXPECT_LE(next, 400);
}

}  // namespace
}  // namespace troupe::test
