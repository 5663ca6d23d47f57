// SPDX-License-Identifier: BSD-3-Clause
// Thread pools with everything at once: coroutines, retries, timeouts, deadlines, backoff,
// priorities, affinity, cancellation and resizing, in tasks and in maps. Seeds are printed;
// TROUPE_TEST_SEED repeats one.
#include "troupe/executor.hpp"
#include "troupe/task.hpp"
#include "troupe/this_task.hpp"
#include "troupe/thread_pool.hpp"

#include "stress_fixture.hpp"
#include "thread_fixture.hpp"

#include <array>
#include <atomic>
#include <deque>
#include <iostream>
#include <mutex>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::test {

/// Knows which of its kind live, so that the copy of a destroyed one is seen and does no harm.
class watched_argument {
 public:
  explicit watched_argument(int number) : number_{number} { enter(); }
  watched_argument(const watched_argument& other) : number_{other.number_if_alive()} { enter(); }
  watched_argument& operator=(const watched_argument&) = delete;
  ~watched_argument() {
    const std::lock_guard lock{mutex};
    alive.erase(this);
  }

  [[nodiscard]] int number() const { return number_if_alive(); }
  [[nodiscard]] static std::size_t count_alive() {
    const std::lock_guard lock{mutex};
    return alive.size();
  }
  static inline std::atomic<int> uses_of_the_dead{0};

 private:
  void enter() {
    const std::lock_guard lock{mutex};
    alive.insert(this);
  }
  [[nodiscard]] int number_if_alive() const {
    const std::lock_guard lock{mutex};
    if (!alive.contains(this)) {
      ++uses_of_the_dead;
      return -1;
    }
    return number_;
  }

  static inline std::mutex mutex;
  static inline std::set<const void*> alive;

  int number_;
};

}  // namespace troupe::test

template <>
struct troupe::enable_repeat<troupe::test::watched_argument> : std::true_type {};

namespace troupe::test {
namespace {

struct StressThreads : pool_test, protected seeded {
  StressThreads() : pool_test{110s} { watched_argument::uses_of_the_dead = 0; }

  /// Whatever a task may be limited by, at random.
  task_options random_options() {
    task_options how;
    if (below(3) == 0) {
      how.timeout = std::chrono::milliseconds{1 + below(2)};
    }
    if (below(2) == 0) {
      how.retries = 1 + below(3);
      how.retry_if = [picky = below(4) == 0](const error& e) {
        return !picky || e.code() == errc::timeout;
      };
      how.backoff = std::chrono::milliseconds{below(3)};
    }
    if (below(5) == 0) {
      how.deadline = std::chrono::milliseconds{2 + below(50)};
    }
    how.priority = below(3);
    if (below(6) == 0) {
      how.affinity = "key " + std::to_string(below(5));
    }
    return how;
  }
};

enum class manner : std::uint8_t {
  computes,
  throws,
  throws_when_asked,
  returns_when_asked,
  lingers
};
constexpr std::array manners{manner::computes, manner::throws, manner::throws_when_asked,
                             manner::returns_when_asked, manner::lingers};

int behave(const watched_argument& given, manner how, std::chrono::microseconds length) {
  const std::stop_token stop = this_task::stop_token();
  const auto end = std::chrono::steady_clock::now() + length;
  while (std::chrono::steady_clock::now() < end) {
    if (how != manner::lingers && stop.stop_requested()) {
      if (how == manner::throws_when_asked) {
        throw std::runtime_error{"asked to stop"};
      }
      break;
    }
  }
  if (how == manner::throws) {
    throw std::out_of_range{"of itself"};
  }
  return given.number();
}

task<int> behave_later(watched_argument given, manner how, std::chrono::microseconds length) {
  try {
    co_await sleep_for(length);
  } catch (const std::system_error&) {
    if (how == manner::throws_when_asked || how == manner::computes) {
      throw;
    }
  }
  if (how == manner::throws) {
    throw std::out_of_range{"of itself"};
  }
  co_return given.number();
}

struct tally {
  int values = 0;
  int cancelled = 0;
  int failed = 0;
};

void expect_counts(const thread_pool& p, const tally& seen) {
  const pool_stats stats = p.stats();
  EXPECT_EQ(stats.queued, 0U);
  EXPECT_EQ(stats.running, 0U);
  EXPECT_EQ(stats.succeeded, static_cast<std::uint64_t>(seen.values));
  EXPECT_EQ(stats.cancelled, static_cast<std::uint64_t>(seen.cancelled));
  EXPECT_EQ(stats.failed, static_cast<std::uint64_t>(seen.failed));
}

// Issue 9, 1.
TEST_F(StressThreads, EveryTaskHasOneOutcomeAndOneCallbackWhateverIsMixed) {
  const int count = scaled(6'000);
  for (const int concurrency : {4, 1}) {
    std::vector<std::atomic<int>> calls(static_cast<std::size_t>(count));
    std::vector<std::atomic<int>> begun(static_cast<std::size_t>(count));
    std::vector<future<int>> all;
    std::vector<int> retries;
    std::vector<char> certain(static_cast<std::size_t>(count), 0);
    thread_pool p{{.workers = 3, .concurrency = concurrency, .grace = 20ms}};
    for (int i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const task_options how = random_options();
      const manner as = manners[static_cast<std::size_t>(below(manners.size()))];
      const std::chrono::microseconds length{below(20) == 0 ? 4'000 : below(300)};
      const watched_argument given{i};
      retries.push_back(how.retries);
      if (below(4) == 0) {
        all.push_back(p.with(how).apply_async(
            [ran = &begun[at], as, length](watched_argument mine) {
              ++*ran;
              return behave_later(std::move(mine), as, length);
            },
            given));
      } else {
        all.push_back(p.with(how).apply_async(
            [ran = &begun[at], as, length](const watched_argument& mine) {
              ++*ran;
              return behave(mine, as, length);
            },
            given));
      }
      all.back().on_done([mine = &calls[at]](const auto&) { ++*mine; });
      if (below(7) == 0) {
        const auto victim = static_cast<std::size_t>(below(i + 1));
        const bool surely = below(2) == 0 ? all[victim].cancel() : all[victim].cancel(force);
        certain[victim] = static_cast<char>(certain[victim] != 0 || surely ? 1 : 0);
      }
      if (below(500) == 0) {
        p.resize(1 + below(4));
      }
    }
    tally seen;
    for (int i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      ASSERT_TRUE(all[at].wait_for(eventually_deadline)) << "task " << i << " has no outcome";
      try {
        EXPECT_EQ(all[at].get(), i);
        ++seen.values;
      } catch (const cancelled_error&) {
        ++seen.cancelled;
      } catch (const std::exception&) {
        ++seen.failed;
      }
      EXPECT_LE(begun[at], 1 + retries[at]) << "task " << i;
      if (certain[at] != 0) {
        EXPECT_TRUE(all[at].cancelled()) << "task " << i << " was cancelled for certain";
      }
      if (certain[at] != 0 && retries[at] == 0) {
        EXPECT_EQ(begun[at], 0) << "task " << i << " ran, and was cancelled for certain";
      }
    }
    p.close();
    p.join();
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(calls[static_cast<std::size_t>(i)], 1) << "callbacks of task " << i;
    }
    expect_counts(p, seen);
    EXPECT_EQ(p.stats().submitted, static_cast<std::uint64_t>(count));
    EXPECT_EQ(watched_argument::uses_of_the_dead, 0) << "attempts with arguments that were gone";
    EXPECT_TRUE(eventually([] { return watched_argument::count_alive() == 0; }))
        << watched_argument::count_alive() << " arguments are left";
    std::cout << "concurrency " << concurrency << ": " << seen.values << " values, "
              << seen.cancelled << " cancelled, " << seen.failed << " failed, " << p.stats().retried
              << " retried" << std::endl;
  }
}

// The pool is closed, or terminated, while all of that is under way.
TEST_F(StressThreads, ThePoolMayEndInTheMiddle) {
  const int rounds = scaled(200);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> calls{0};
    std::vector<future<int>> all;
    thread_pool p{{.workers = 1 + below(3), .concurrency = 1 + below(4), .grace = 2ms}};
    const int count = 1 + below(60);
    for (int i = 0; i < count; ++i) {
      const manner as = manners[static_cast<std::size_t>(below(manners.size()))];
      const std::chrono::microseconds length{below(400)};
      auto with_options = p.with(random_options());
      all.push_back(below(2) == 0
                        ? with_options.apply_async(behave_later, watched_argument{i}, as, length)
                        : with_options.apply_async(behave, watched_argument{i}, as, length));
      all.back().on_done([&calls](const auto&) { ++calls; });
      if (below(20) == 0) {
        p.resize(1 + below(3));
      }
    }
    if (below(2) == 0) {
      p.close();
    } else {
      p.terminate();
    }
    p.join();
    tally seen;
    for (const auto& one : all) {
      ASSERT_TRUE(one.ready()) << "round " << round;
      try {
        one.get();
        ++seen.values;
      } catch (const cancelled_error&) {
        ++seen.cancelled;
      } catch (const std::exception&) {
        ++seen.failed;
      }
    }
    ASSERT_EQ(calls, count) << "round " << round;
    expect_counts(p, seen);
    ASSERT_EQ(watched_argument::uses_of_the_dead, 0);
  }
}

/// What the function of a map refers to. It outlives the map here, and knows that it should not be
/// used any more.
struct frame {
  std::atomic<int> inside{0};
  std::atomic<bool> gone{false};
  std::atomic<int> used_after{0};

  void use() {
    if (gone) {
      ++used_after;
    }
  }
};

struct visit {
  explicit visit(frame& f) : of{f} {
    of.use();
    ++of.inside;
  }
  ~visit() {
    of.use();
    --of.inside;
  }
  visit(const visit&) = delete;
  visit& operator=(const visit&) = delete;
  frame& of;
};

// Issue 9, 2.
TEST_F(StressThreads, NothingOfAMapRunsOnceItHasEnded) {
  const int rounds = scaled(600);
  std::deque<frame> frames;
  thread_pool p{{.workers = 3, .concurrency = 3, .grace = 2ms}};
  thread_pool_executor ex{{.workers = 2, .grace = 2ms}};
  int ended_early = 0;
  for (int round = 0; round < rounds; ++round) {
    frame& here = frames.emplace_back();
    const int count = below(60);
    const int wrong_at = below(120);
    const int input_ends_at = below(150);
    const manner as = manners[static_cast<std::size_t>(below(manners.size()))];
    const std::chrono::microseconds length{below(30) == 0 ? 3'000 : below(200)};
    const auto input = std::views::iota(0, count) | std::views::transform([=](int i) {
                         if (i == input_ends_at) {
                           throw std::range_error{"the input"};
                         }
                         return i;
                       });
    const auto work = [&here, as, length, wrong_at](int i) {
      const visit inside{here};
      return behave(watched_argument{i}, i == wrong_at ? manner::throws : as, length);
    };
    const auto work_later = [&here, as, length, wrong_at](int i) -> task<int> {
      const visit inside{here};
      co_return co_await behave_later(watched_argument{i}, i == wrong_at ? manner::throws : as,
                                      length);
    };
    task_options how = random_options();
    how.priority = 0;
    const map_options travel{.chunk = static_cast<std::size_t>(below(5)),
                             .window = static_cast<std::size_t>(below(3) == 0 ? 1 + below(20) : 0)};
    const int kind = below(6);
    const int results_wanted = below(2) == 0 ? 1'000 : below(10);
    const std::chrono::milliseconds patience{below(3)};
    const auto take_some = [&](auto results) {
      int taken = 0;
      for (auto it = results.begin(); it != results.end() && taken < results_wanted; ++it) {
        static_cast<void>(*it);
        ++taken;
      }
    };
    const auto run = [&] {
      try {
        auto with_options = p.with(how);
        switch (kind) {
          case 0:
            with_options.map(work, input, travel);
            break;
          case 1:
            take_some(with_options.imap(work, input, travel));
            break;
          case 2:
            take_some(with_options.imap_unordered(work, input, travel));
            break;
          case 3:
            with_options.map(work_later, input, travel);
            break;
          case 4:
            take_some(with_options.imap_unordered(work_later, input, travel));
            break;
          default: {
            auto limited = ex.with(how);
            take_some(limited.map({.chunk = travel.chunk, .window = 8, .timeout = patience}, work,
                                  input));
            break;
          }
        }
      } catch (const std::exception&) {
        ++ended_early;
      }
      here.gone = true;
      EXPECT_EQ(here.inside, 0) << "kind " << kind << ", round " << round;
    };
    if (below(3) == 0) {
      p.apply(run);
    } else {
      run();
    }
  }
  p.close();
  p.join();
  ex.shutdown();
  int used_after = 0;
  for (const frame& each : frames) {
    used_after += each.used_after;
  }
  EXPECT_EQ(used_after, 0);
  EXPECT_EQ(watched_argument::uses_of_the_dead, 0);
  for (const pool_stats& stats : {p.stats(), ex.stats()}) {
    EXPECT_EQ(stats.succeeded + stats.failed + stats.cancelled, stats.submitted);
    EXPECT_EQ(stats.queued, 0U);
    EXPECT_EQ(stats.running, 0U);
  }
  std::cout << rounds << " maps, " << ended_early << " threw" << std::endl;
}

}  // namespace
}  // namespace troupe::test
