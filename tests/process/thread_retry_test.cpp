// SPDX-License-Identifier: BSD-3-Clause
// Attempts after the first in a thread pool.
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
