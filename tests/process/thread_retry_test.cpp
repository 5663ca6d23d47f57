// SPDX-License-Identifier: BSD-3-Clause
// Attempts after the first in a thread pool.
#include "troupe/log.hpp"
#include "troupe/this_task.hpp"
#include "troupe/thread_pool.hpp"

#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <atomic>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace troupe::test {

/// Says nothing about its copies.
struct plain_argument {
  std::vector<std::string> texts;
};
/// Says that it can be copied.
struct kept_argument {
  std::vector<std::string> texts;
};
/// Says that it can be copied, and knows when it is gone.
class mortal_argument {
 public:
  explicit mortal_argument(int n) : number_{n} {}
  mortal_argument(const mortal_argument& other) : number_{other.number()} {}
  mortal_argument& operator=(const mortal_argument&) = delete;
  ~mortal_argument() { *static_cast<volatile int*>(&number_) = gone; }
  [[nodiscard]] int number() const { return *static_cast<const volatile int*>(&number_); }
  static constexpr int gone = -1;

 private:
  int number_;
};

}  // namespace troupe::test

template <>
struct troupe::enable_repeat<troupe::test::kept_argument> : std::true_type {};
template <>
struct troupe::enable_repeat<troupe::test::mortal_argument> : std::true_type {};

namespace troupe::test {
namespace {

struct ThreadRetry : pool_test {};

bool is_transient(const error& e) {
  return std::string{e.what()}.find("not yet") != std::string::npos;
}

/// Throws until it has been tried `times` times.
struct throws_until {
  std::atomic<int>* tries;
  int times;
  int operator()() const {
    if (++*tries < times) {
      throw std::out_of_range{"not yet"};
    }
    return static_cast<int>(this_task::attempt());
  }
};

TEST_F(ThreadRetry, OfWhatThrewOnlyIfThePredicateSaysSo) {
  thread_pool p{{.workers = 2}};
  std::atomic<int> a{0};
  EXPECT_EQ(p.with({.retries = 5, .retry_if = is_transient}).apply(throws_until{&a, 3}), 3);
  EXPECT_EQ(a, 3);
  EXPECT_EQ(p.stats().retried, 2U);
  EXPECT_EQ(p.stats().failed, 0U);

  std::atomic<int> b{0};
  EXPECT_THROW(p.with({.retries = 5}).apply(throws_until{&b, 3}), std::out_of_range);
  EXPECT_EQ(b, 1);

  std::atomic<int> c{0};
  const auto never = [](const error&) { return false; };
  EXPECT_THROW(p.with({.retries = 5, .retry_if = never}).apply(throws_until{&c, 3}),
               std::out_of_range);
  EXPECT_EQ(c, 1);
}

TEST_F(ThreadRetry, ThePredicateIsAskedOnceForEveryFailureWhileRetriesAreLeft) {
  thread_pool p{{.workers = 2}};
  std::atomic<int> asked{0};
  std::atomic<int> tries{0};
  const auto always = [&](const error&) {
    ++asked;
    return true;
  };
  EXPECT_THROW(p.with({.retries = 2, .retry_if = always}).apply(throws_until{&tries, 100}),
               std::out_of_range);
  EXPECT_EQ(tries, 3);
  EXPECT_EQ(asked, 2);
}

TEST_F(ThreadRetry, APredicateThatThrowsMeansNo) {
  thread_pool p{{.workers = 2}};
  set_log_hook([](log_level, std::string_view) {});
  std::atomic<int> tries{0};
  const auto fails = [](const error&) -> bool { throw std::domain_error{"from the predicate"}; };
  EXPECT_THROW(p.with({.retries = 2, .retry_if = fails}).apply(throws_until{&tries, 100}),
               std::out_of_range);
  EXPECT_EQ(tries, 1);
  p.close();
  p.join();
  set_log_hook({});
}

TEST_F(ThreadRetry, EveryAttemptHasTheArgumentsAsTheyWere) {
  thread_pool p{{.workers = 2}};
  const auto retrying = p.with({.retries = 3, .retry_if = is_transient});
  std::atomic<int> tries{0};
  const auto takes = [&](std::string text, std::vector<int> numbers, kept_argument kept) {
    if (++tries < 3) {
      text.clear();
      throw std::out_of_range{"not yet"};
    }
    return text + std::to_string(std::accumulate(numbers.begin(), numbers.end(), 0)) +
           kept.texts.at(0);
  };
  EXPECT_EQ(thread_pool_with{retrying}.apply(takes, "a long enough text not to be short",
                                             std::vector<int>{1, 2, 3}, kept_argument{{"kept"}}),
            "a long enough text not to be short6kept");
}

TEST_F(ThreadRetry, WhatCannotBeKeptIsRefusedByName) {
  thread_pool p{{.workers = 1}};
  auto retrying = p.with({.retries = 1, .retry_if = is_transient});
  const auto text_of = [](auto&& submit) -> std::string {
    try {
      submit();
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "nothing was thrown";
  };
  EXPECT_NE(text_of([&] {
              retrying.apply([](plain_argument) {}, plain_argument{});
            }).find("plain_argument"),
            std::string::npos);
  EXPECT_NE(text_of([&] {
              retrying.apply([](std::unique_ptr<int>) {}, std::make_unique<int>(1));
            }).find("unique_ptr"),
            std::string::npos);
  std::vector<std::vector<std::unique_ptr<int>>> items(3);
  EXPECT_NE(text_of([&] {
              retrying.map([](std::vector<std::unique_ptr<int>>) {},
                           std::ranges::subrange(std::make_move_iterator(items.begin()),
                                                 std::make_move_iterator(items.end())));
            }).find("unique_ptr"),
            std::string::npos);
  plain_argument by_reference{{"x"}};
  EXPECT_EQ(retrying.apply([](plain_argument& given) { return given.texts.at(0); },
                           std::ref(by_reference)),
            "x");
}

TEST_F(ThreadRetry, AnAttemptThatStopsWhenItsTimeIsOverIsTriedAgain) {
  thread_pool p{{.workers = 2}};
  std::atomic<int> tries{0};
  const auto always = [](const error& e) { return e.code() == errc::timeout; };
  const auto listens = [&] {
    if (++tries > 1) {
      return 7;
    }
    const std::stop_token stop = this_task::stop_token();
    while (!stop.stop_requested()) {
      std::this_thread::yield();
    }
    return 0;
  };
  EXPECT_EQ(p.with({.timeout = 5ms, .retries = 1, .retry_if = always}).apply(listens), 7);
  EXPECT_EQ(tries, 2);

  // The next attempt has a limit of its own, and what it throws counts, too.
  tries = 0;
  const auto any = [](const error&) { return true; };
  const auto deaf_then_throws = [&] {
    const int which = ++tries;
    if (which == 3) {
      return 3;
    }
    if (which == 2) {
      throw std::out_of_range{"not yet"};
    }
    const std::stop_token stop = this_task::stop_token();
    while (!stop.stop_requested()) {
      std::this_thread::yield();
    }
    return 0;
  };
  EXPECT_EQ(p.with({.timeout = 5ms, .retries = 2, .retry_if = any}).apply(deaf_then_throws), 3);
}

/// Until its time is over, which it answers by a throw.
void until_asked_to_stop() {
  const std::stop_token stop = this_task::stop_token();
  if (eventually([&] { return stop.stop_requested(); })) {
    throw std::runtime_error{"asked to stop"};
  }
}

bool always(const error&) {
  return true;
}

// Issue 9, 1.
TEST_F(ThreadRetry, AnAttemptThatThrowsWhenItsTimeIsOverLeavesTheArgumentsToTheNext) {
  thread_pool p{{.workers = 2}};
  std::vector<std::vector<int>> numbers(3);
  const auto notes = [&](int slot, const mortal_argument& given) {
    numbers[static_cast<std::size_t>(slot)].push_back(given.number());
    if (this_task::attempt() == 1) {
      until_asked_to_stop();
    }
    return given.number();
  };
  // A limit that the second attempt keeps, however busy the machine is.
  auto retrying = p.with({.timeout = 1s, .retries = 1, .retry_if = always});
  auto call = retrying.apply_async(notes, 0, mortal_argument{5});
  auto map = retrying.map_async(
      [&](const mortal_argument& given) { return notes(given.number() == 6 ? 1 : 2, given); },
      std::vector{mortal_argument{6}, mortal_argument{7}}, {.chunk = 2});
  EXPECT_EQ(call.get(), 5);
  EXPECT_EQ(map.get(), (std::vector{6, 7}));
  EXPECT_EQ(numbers, (std::vector<std::vector<int>>{{5, 5}, {6, 6}, {7, 7}}));
  EXPECT_EQ(p.stats().retried, 3U);
}

// Issue 9, 1.
TEST_F(ThreadRetry, WhatIsToldAboutATimeoutIsTheSameWhetherItThrowsOrReturns) {
  thread_pool p{{.workers = 1}};
  std::atomic<int> tries{0};
  std::vector<errc> asked;
  const auto codes = [&](const error& e) {
    asked.push_back(e.code());
    return true;
  };
  auto f = p.with({.timeout = 2ms, .retries = 2, .retry_if = codes}).apply_async([&] {
    ++tries;
    until_asked_to_stop();
  });
  EXPECT_TRUE(fails_with(errc::timeout, [&] { return f.get(), 0; }));
  EXPECT_EQ(tries, 3);
  EXPECT_EQ(asked, (std::vector{errc::timeout, errc::timeout}));
}

TEST_F(ThreadRetry, WithBackoffTheWorkerIsFreeMeanwhile) {
  thread_pool p{{.workers = 1}};
  std::atomic<int> tries{0};
  auto slow = p.with({.retries = 1, .retry_if = is_transient, .backoff = 20ms})
                  .apply_async(throws_until{&tries, 2});
  EXPECT_EQ(p.apply(square, 3), 9);
  EXPECT_EQ(slow.get(), 2);
}

TEST_F(ThreadRetry, BetweenTwoAttemptsATaskCanBeCancelledForCertain) {
  thread_pool p{{.workers = 1}};
  std::atomic<int> tries{0};
  std::atomic<bool> asked{false};
  const auto again = [&](const error&) { return asked = true; };
  auto waits = p.with({.retries = 1, .retry_if = again, .backoff = 60s})
                   .apply_async(throws_until{&tries, 2});
  ASSERT_TRUE(eventually([&] { return asked.load(); }));
  EXPECT_TRUE(waits.cancel());
  EXPECT_TRUE(waits.cancelled());
  EXPECT_EQ(tries, 1);
  p.close();
  p.join();  // it does not wait for the backoff
}

TEST_F(ThreadRetry, CloseWaitsForTheAttemptsThatAreLeft) {
  thread_pool p{{.workers = 3}};
  std::atomic<int> tries{0};
  auto waits = p.with({.retries = 5, .retry_if = is_transient, .backoff = 2ms})
                   .apply_async(throws_until{&tries, 4});
  p.close();
  p.join();
  EXPECT_TRUE(waits.ready());
  EXPECT_EQ(waits.get(), 4);
}

TEST_F(ThreadRetry, TerminateEndsWhatWaitsForItsNextAttempt) {
  for (int round = 0; round < 50; ++round) {
    thread_pool p{{.workers = 2}};
    std::atomic<int> tries{0};
    std::vector<future<int>> all;
    for (int i = 0; i < 10; ++i) {
      all.push_back(p.with({.retries = 3, .retry_if = is_transient, .backoff = 60s})
                        .apply_async(throws_until{&tries, 1000}));
    }
    p.terminate();
    p.join();
    for (auto& f : all) {
      EXPECT_TRUE(f.ready());
      EXPECT_FALSE(f.successful());
    }
  }
}

TEST_F(ThreadRetry, InAMapOnlyTheItemIsTriedAgain) {
  thread_pool p{{.workers = 2}};
  std::vector<std::atomic<int>> tries(200);
  const auto retrying = p.with({.retries = 2, .retry_if = is_transient});
  for (const std::size_t chunk : {1U, 16U, 0U}) {
    for (auto& each : tries) {
      each = 0;
    }
    const auto results = thread_pool_with{retrying}.map(
        [&](std::size_t i) {
          if (++tries[i] < 2 && i % 10 == 3) {
            throw std::out_of_range{"not yet"};
          }
          return i;
        },
        std::views::iota(std::size_t{0}, tries.size()), {.chunk = chunk});
    ASSERT_EQ(results.size(), tries.size());
    for (std::size_t i = 0; i < tries.size(); ++i) {
      EXPECT_EQ(results[i], i);
      EXPECT_EQ(tries[i], i % 10 == 3 ? 2 : 1);
    }
  }
  EXPECT_THROW(thread_pool_with{retrying}.map(
                   [](int i) {
                     if (i == 5) {
                       throw std::out_of_range{"not yet, and never"};
                     }
                   },
                   std::views::iota(0, 100)),
               std::out_of_range);
}

TEST_F(ThreadRetry, AMapHasCountsOfItsOwn) {
  thread_pool p{{.workers = 2}};
  thread_gate gate;
  std::atomic<int> tries{0};
  const auto of_each_kind = [&](int item) {
    if (item == 0) {
      throw std::out_of_range{"never"};
    }
    if (item == 1) {
      if (++tries == 1) {
        throw std::out_of_range{"not yet"};
      }
      return;
    }
    gate.wait();
  };
  auto f = p.with({.retries = 3, .retry_if = is_transient})
               .map_async(of_each_kind, std::vector{1, 2, 3, 4, 5, 6, 7, 0}, {.chunk = 1});
  gate.wait_for_waiters(2);
  const task_counts now = f.counts();
  EXPECT_EQ(now.total, 8U);
  EXPECT_EQ(now.running, 2U);
  EXPECT_EQ(now.queued + now.succeeded, 6U);
  gate.open();
  EXPECT_THROW(f.get(), std::out_of_range);
  EXPECT_EQ(f.counts(), (task_counts{.total = 8, .succeeded = 7, .failed = 1, .retried = 1}));
  EXPECT_EQ(f.progress()->done, 8U);
}

TEST_F(ThreadRetry, ADeadlineCountsOverAllAttempts) {
  thread_pool p{{.workers = 1}};
  std::atomic<int> tries{0};
  auto late = p.with({.deadline = 20ms, .retries = 5, .retry_if = is_transient, .backoff = 60s})
                  .apply_async(throws_until{&tries, 4});
  EXPECT_TRUE(fails_with(errc::timeout, [&] { return late.get(); }));
  EXPECT_EQ(tries, 1);
}

TEST_F(ThreadRetry, ArgumentsAreGoneWhenTheOutcomeIsThere) {
  thread_pool p{{.workers = 2}};
  for (const int times : {1, 3, 100}) {
    auto given = std::make_shared<int>(5);
    std::atomic<int> tries{0};
    auto f = p.with({.retries = 4, .retry_if = is_transient})
                 .apply_async(
                     [&](const std::shared_ptr<int>& number) {
                       if (++tries < times) {
                         throw std::out_of_range{"not yet"};
                       }
                       return *number;
                     },
                     given);
    f.wait();
    EXPECT_EQ(f.successful(), times < 100);
    EXPECT_EQ(given.use_count(), 1);
  }
}

TEST_F(ThreadRetry, ABoundTaskIsTriedAgainOnItsWorker) {
  thread_pool p{{.workers = 3}};
  const auto keyed = p.with({.retries = 3, .retry_if = is_transient, .affinity = "k"});
  const auto home = thread_pool_with{keyed}.apply([] { return std::this_thread::get_id(); });
  std::atomic<int> tries{0};
  for (int i = 0; i < 20; ++i) {
    tries = 0;
    EXPECT_EQ(thread_pool_with{keyed}.apply([&] {
      if (++tries < 3) {
        throw std::out_of_range{"not yet"};
      }
      return std::this_thread::get_id();
    }),
              home);
  }
}

}  // namespace
}  // namespace troupe::test
