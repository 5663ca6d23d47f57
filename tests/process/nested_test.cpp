// SPDX-License-Identifier: BSD-3-Clause
// Tasks that submit tasks: to their own pool, and to pools that they make.
#include "troupe/this_task.hpp"
#include "troupe/thread_pool.hpp"
#include "troupe/wait.hpp"

#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <signal.h>

#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

struct Nested : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(Nested);

int fibonacci(int n) {
  if (n < 2) {
    return n;
  }
  const auto pool = this_task::pool();
  auto left = pool.apply_async(fibonacci, n - 1);
  auto right = pool.apply_async(fibonacci, n - 2);
  return left.get() + right.get();
}

TEST_P(Nested, ATaskWaitsForTasksOfItsOwnPool) {
  pool p{options(1)};
  EXPECT_EQ(p.apply(fibonacci, 1), 1);
  EXPECT_EQ(p.apply(fibonacci, 2), 1) << "with one worker, which waits";
  EXPECT_EQ(p.apply(fibonacci, 7), 13);
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(Nested, AsManyTasksAsWorkersAndMoreWait) {
  pool p{options(2)};
  const auto sums = p.map(
      [](int n) {
        const auto squares = this_task::pool().map(square, std::vector<int>{n, n + 1, n + 2});
        return std::accumulate(squares.begin(), squares.end(), 0);
      },
      std::views::iota(0, 10));
  for (int n = 0; n < 10; ++n) {
    EXPECT_EQ(sums[static_cast<std::size_t>(n)], n * n + (n + 1) * (n + 1) + (n + 2) * (n + 2));
  }
  EXPECT_TRUE(eventually([&] { return p.stats().workers == 2; })) << "the extra ones go again";
  EXPECT_EQ(p.apply(square, 3), 9);
}

TEST_P(Nested, FailuresArriveAsThemselves) {
  pool p{options(1)};
  EXPECT_THROW(p.apply([] {
    return this_task::pool().apply(
        [](int n) {
          if (n > 0) {
            throw std::out_of_range{"too far"};
          }
          return n;
        },
        1);
  }),
               std::out_of_range);
}

TEST_P(Nested, ADeathInsideIsTheInnerTasksAlone) {
  pool p{options(1)};
  const int got = p.apply([] {
    try {
      this_task::pool().apply([] { ::kill(::getpid(), SIGKILL); });
    } catch (const worker_lost& lost) {
      return std::get<killed_by>(*lost.exit()).signal;
    }
    return 0;
  });
  EXPECT_EQ(got, SIGKILL);
}

TEST_P(Nested, ADeathOutsideFreesWhatWaits) {
  pool p{options(1)};
  const std::string gate = file("gate");
  auto outer = p.apply_async(
      [](const std::string& running, const std::string& open) {
        auto inner = this_task::pool().apply_async(wait_at, running, open);
        if (eventually([&] { return marks(running) > 0; })) {
          ::kill(::getpid(), SIGKILL);
        }
        inner.get();
      },
      file("running"), gate);
  EXPECT_THROW(outer.get(), worker_lost);
  mark(gate);
  EXPECT_EQ(p.apply(square, 4), 16);
}

/// Its first attempt submits three tasks, of which one worker can begin one, and dies.
int submit_and_die_once(const std::string& begun, const std::string& ran, const std::string& gate) {
  const auto pool = this_task::pool();
  if (this_task::attempt() > 1) {
    mark(gate);
    return pool.apply(square, 5);
  }
  std::vector<future<void>> behind;
  auto inner = pool.apply_async(wait_at, begun, gate);
  if (eventually([&] { return marks(begun) > 0; })) {
    for (int i = 0; i < 2; ++i) {
      behind.push_back(pool.apply_async(mark, ran));
    }
    // Submissions go the way of this frame, so they are there before the death.
    this_task::progress(1, 1);
    ::kill(::getpid(), SIGKILL);
  }
  return inner.get();
}

TEST_P(Nested, ARetryOfATaskSubmitsAgainAndWhatHadNotBegunIsCancelled) {
  pool p{options(1)};
  auto outer = p.with({.retries = 1})
                   .apply_async(submit_and_die_once, file("begun"), file("ran"), file("gate"));
  EXPECT_EQ(outer.get(), 25);
  p.close();
  p.join();
  EXPECT_EQ(marks(file("begun")), 1U);
  EXPECT_EQ(marks(file("ran")), 0U) << "they had not begun when the task that submitted them died";
}

TEST_P(Nested, LargeArgumentsAndResultsCross) {
  pool p{options(1)};
  const std::string big(3'000'000, 'x');
  const auto length = p.apply(
      [](const std::string& text) {
        const auto twice =
            this_task::pool().apply([](const std::string& s) { return s + s; }, text);
        return twice.size();
      },
      big);
  EXPECT_EQ(length, 6'000'000U);
}

TEST_P(Nested, ManyAtOnceAreAllDone) {
  pool p{options(2)};
  const auto sum = p.apply([] {
    std::vector<int> numbers(5000);
    std::iota(numbers.begin(), numbers.end(), 0);
    const auto same = this_task::pool().map([](int n) { return n; }, numbers);
    return std::accumulate(same.begin(), same.end(), std::int64_t{0});
  });
  EXPECT_EQ(sum, 12'497'500);
}

TEST_P(Nested, ACloseWaitsForTasksOfTasks) {
  pool p{options(1)};
  auto f = p.apply_async(
      [](const std::string& running, const std::string& gate) {
        wait_at(running, gate);
        return this_task::pool().apply(square, 5);
      },
      file("running"), file("gate"));
  EXPECT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  p.close();
  mark(file("gate"));
  p.join();
  EXPECT_EQ(f.get(), 25);
}

TEST_P(Nested, WaitForASetAndCallbacksWorkInside) {
  pool p{options(1)};
  const int got = p.apply([] {
    std::vector<future<int>> all;
    for (int n = 1; n <= 4; ++n) {
      all.push_back(this_task::pool().apply_async(square, n));
    }
    int sum = 0;
    for (const auto& f : as_completed(all)) {
      sum += f.get();
    }
    return sum + this_task::pool().apply_async(square, 10).then([](int n) { return n; }).get();
  });
  EXPECT_EQ(got, 1 + 4 + 9 + 16 + 100);
}

int dig(int depth) {
  return depth == 0 ? 0 : 1 + this_task::pool().apply(dig, depth - 1);
}
TEST_P(Nested, TooDeepIsAClearErrorAndNotADeadlock) {
  pool p{options(1)};
  EXPECT_EQ(p.apply(dig, 20), 20);
  EXPECT_TRUE(fails_with(errc::would_deadlock, [&] { return p.apply(dig, 200); }));
  EXPECT_EQ(p.apply(dig, 3), 3) << "and the pool goes on";
}

/// Starts 64 workers one after the other, which takes long on a busy machine.
struct NestedDeep : every_start_method {
  NestedDeep() : every_start_method{110s} {}
};
TROUPE_FOR_EVERY_START_METHOD(NestedDeep);

TEST_P(NestedDeep, SixtyFourExtraWorkersAreStarted) {
  pool p{options(1)};
  EXPECT_EQ(p.apply(dig, 64), 64) << "the only worker and 64 more";
}

TEST_P(NestedDeep, OneMoreIsRefused) {
  pool p{options(1)};
  EXPECT_TRUE(fails_with(errc::would_deadlock, [&] { return p.apply(dig, 65); }));
}

TEST_P(Nested, AMapOfATaskThrowsTheFirstFailureAndTheOthersGoOn) {
  pool p{options(1)};
  EXPECT_THROW(p.apply(
                   [](const std::string& ran) {
                     std::vector<std::pair<int, std::string>> items;
                     for (int i = 0; i < 5; ++i) {
                       items.emplace_back(i, ran);
                     }
                     return this_task::pool().map(
                         [](const std::pair<int, std::string>& item) {
                           mark(item.second);
                           if (item.first == 0) {
                             throw std::out_of_range{"the first one"};
                           }
                           return 0;
                         },
                         items);
                   },
                   file("ran")),
               std::out_of_range);
  EXPECT_TRUE(eventually([&] { return marks(file("ran")) == 5; })) << marks(file("ran"));
}

int pools_inside(int depth) {
  if (depth == 0) {
    return 0;
  }
  pool inner{{.workers = 1}};
  return 1 + inner.apply(pools_inside, depth - 1);
}
TEST_P(Nested, PoolsInsideOfPoolsHaveALimit) {
  pool p{options(1)};
  EXPECT_EQ(p.apply(pools_inside, 2), 2);
  EXPECT_EQ(p.apply(pools_inside, 9), 9) << "10 pools inside of each other";
  EXPECT_TRUE(fails_with(errc::would_deadlock, [&] { return p.apply(pools_inside, 20); }));
}

TEST_P(Nested, OutsideOfATaskItIsAnError) {
  EXPECT_TRUE(
      fails_with(errc::wrong_state, [] { return static_cast<void>(this_task::pool()), 0; }));
  thread_pool threads{{.workers = 1}};
  EXPECT_TRUE(fails_with(errc::wrong_state, [&] {
    return threads.apply([] { return static_cast<void>(this_task::pool()), 0; });
  }));
  pool p{options(1)};
  EXPECT_TRUE(p.apply([] {
    bool refused = false;
    std::thread other{[&] {
      try {
        static_cast<void>(this_task::pool());
      } catch (const error& problem) {
        refused = problem.code() == errc::wrong_state;
      }
    }};
    other.join();
    return refused;
  })) << "on another thread";
}

}  // namespace
}  // namespace troupe::test
