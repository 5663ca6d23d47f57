// SPDX-License-Identifier: BSD-3-Clause
// Tasks of tasks, keys, chains of `then` and maps that are cancelled, all at once and at random, with
// workers that are killed: everything has an outcome, and a value is the right one. Seeds are
// printed; TROUPE_TEST_SEED repeats one.
#include "troupe/this_task.hpp"
#include "troupe/thread_pool.hpp"
#include "troupe/wait.hpp"

#include "stress_fixture.hpp"

#include <ranges>

namespace troupe::test {
namespace {

int brief(int microseconds, int x) {
  spin_for(std::chrono::microseconds{microseconds});
  return x;
}

constexpr int sum_below(int n) {
  return n * (n - 1) / 2;
}

int of_its_own_tasks(int n) {
  const own_pool own = this_task::pool();
  std::vector<future<int>> all;
  for (int i = 0; i < n; ++i) {
    all.push_back(own.apply_async(brief, 20, i));
  }
  int sum = 0;
  for (const future<int>& one : all) {
    sum += one.get();
  }
  return sum;
}

int brief_item(int x) {
  return brief(x % 50, x);
}

/// Whether the error is one that a storm may cause: a death, a limit, a cancellation.
[[nodiscard]] testing::AssertionResult is_of_a_storm(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const worker_lost&) {
    return testing::AssertionSuccess();
  } catch (const cancelled_error&) {
    return testing::AssertionSuccess();
  } catch (const timeout_error&) {
    return testing::AssertionSuccess();
  } catch (const std::exception& other) {
    return testing::AssertionFailure() << other.what();
  }
}

/// What a storm has submitted, with the values that may come of it.
template <class Pool>
class storm {
 public:
  storm(Pool& p, std::mt19937& random) : pool_{p}, random_{random} {}

  template <class Nested>
  void submit_one(const Nested& nested) {
    switch (below(6)) {
      case 0: {
        const int n = below(5);
        tasks_.emplace_back(nested(n), sum_below(n));
        break;
      }
      case 1:
        tasks_.emplace_back(keyed(), 7);
        break;
      case 2: {
        auto chain = pool_.apply_async(brief, below(100), 0);
        const int links = below(20);
        for (int i = 0; i < links; ++i) {
          chain = chain.then([](int x) { return x + 1; });
        }
        if (below(4) == 0) {
          chain.cancel();
        }
        tasks_.emplace_back(chain, links);
        break;
      }
      case 3: {
        const int items = below(300);
        auto map = pool_.map_async(brief_item, std::views::iota(0, items));
        if (below(2) == 0) {
          below(2) == 0 ? map.cancel() : map.cancel(force);
        }
        maps_.emplace_back(map, items);
        break;
      }
      case 4:
        tasks_.emplace_back(limited(), 9);
        break;
      default:
        tasks_.emplace_back(pool_.with({.priority = below(3)}).apply_async(brief, below(50), 3), 3);
        break;
    }
  }

  /// Waits for all of it.
  void expect_right_outcomes() {
    for (const auto& [one, value] : tasks_) {
      ASSERT_TRUE(one.wait_for(eventually_deadline)) << "no outcome";
      if (const auto thrown = one.exception()) {
        ASSERT_TRUE(is_of_a_storm(thrown));
      } else {
        ASSERT_EQ(one.get(), value);
      }
    }
    for (const auto& [one, items] : maps_) {
      ASSERT_TRUE(one.wait_for(eventually_deadline)) << "no outcome";
      if (const auto thrown = one.exception()) {
        ASSERT_TRUE(is_of_a_storm(thrown));
      } else {
        ASSERT_TRUE(std::ranges::equal(one.get(), std::views::iota(0, items)));
      }
    }
    EXPECT_TRUE(eventually([&] {
      const pool_stats now = pool_.stats();
      return now.queued == 0 && now.running == 0;
    }));
  }

 private:
  int below(int end) { return std::uniform_int_distribution{0, end - 1}(random_); }
  future<int> keyed() {
    return pool_.with({.affinity = "key " + std::to_string(below(6))})
        .apply_async(brief, below(100), 7);
  }
  future<int> limited() {
    task_options how{.retries = below(3)};
    if (below(2) == 0) {
      how.timeout = std::chrono::milliseconds{1 + below(20)};
    } else {
      how.deadline = std::chrono::milliseconds{1 + below(50)};
    }
    return pool_.with(how).apply_async(brief, below(5000), 9);
  }

  Pool& pool_;
  std::mt19937& random_;
  std::vector<std::pair<future<int>, int>> tasks_;
  std::vector<std::pair<future<std::vector<int>>, int>> maps_;
};

struct StressMixed : stress_test {};
TROUPE_FOR_EVERY_START_METHOD(StressMixed);

TEST_P(StressMixed, EverythingEndsAndIsRightWhileWorkersDie) {
  pool_options how = crew_of();
  how.grace = 5ms;
  how.restart.intensity = 1'000'000;
  pool p{how};
  for (int round = 0; round < scaled(20); ++round) {
    storm<pool> all{p, random_};
    killer killing{p, seed_ + static_cast<unsigned>(round), 20ms};
    for (int i = 0; i < 100; ++i) {
      all.submit_one([&](int n) { return p.apply_async(of_its_own_tasks, n); });
    }
    all.expect_right_outcomes();
    killing.stop();
  }
  expect_whole(p);
}

struct StressMixedThreads : no_leaks, seeded {
  StressMixedThreads() : no_leaks{110s} {}
};

TEST_F(StressMixedThreads, EverythingEndsAndIsRight) {
  thread_pool p{{.workers = 3, .grace = 5ms}};
  for (int round = 0; round < scaled(100); ++round) {
    storm<thread_pool> all{p, random_};
    for (int i = 0; i < 100; ++i) {
      all.submit_one([&](int n) {
        return p.apply_async([&p, n] {
          std::vector<future<int>> own;
          for (int k = 0; k < n; ++k) {
            own.push_back(p.apply_async(brief, 20, k));
          }
          int sum = 0;
          for (const future<int>& one : own) {
            sum += one.get();
          }
          return sum;
        });
      });
    }
    all.expect_right_outcomes();
  }
}

}  // namespace
}  // namespace troupe::test
