// SPDX-License-Identifier: BSD-3-Clause
// Attempts after a death, deadlines, labels. What thread pools promise too is in conformance_retry_test.
#include "troupe/this_task.hpp"

#include "pool_fixture.hpp"

#include <signal.h>
#include <unistd.h>

#include <future>
#include <string>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

struct PoolRetry : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(PoolRetry);

int dies_until(const std::string& tries, int times) {
  mark(tries);
  if (marks(tries) < static_cast<std::size_t>(times)) {
    ::raise(SIGKILL);
  }
  return static_cast<int>(this_task::attempt());
}

int throws_a_logic_error(const std::string& tries) {
  mark(tries);
  throw std::logic_error{"hopeless"};
}

int stopped_or_late(const std::string& running) {
  mark(running);
  if (!eventually([] { return this_task::stop_token().stop_requested(); })) {
    throw std::runtime_error{"it was not asked to stop"};
  }
  return 7;
}

TEST_P(PoolRetry, ThePredicateIsAskedOnAThreadOfItsOwn) {
  pool p{options()};
  std::promise<std::thread::id> of_callbacks;
  p.apply_async(throws_a_logic_error, file("other")).on_error([&](const error&) {
    of_callbacks.set_value(std::this_thread::get_id());
  });
  std::promise<std::thread::id> of_predicate;
  const auto ask = [&](const error&) {
    of_predicate.set_value(std::this_thread::get_id());
    return false;
  };
  EXPECT_THROW(p.with({.retries = 1, .retry_if = ask}).apply(throws_a_logic_error, file("tries")),
               std::logic_error);
  const auto thread = of_predicate.get_future().get();
  EXPECT_NE(thread, of_callbacks.get_future().get());
  EXPECT_NE(thread, std::this_thread::get_id());
}

TEST_P(PoolRetry, ThePredicateDecidesAboutDeathsAndTimeoutsToo) {
  pool p{options()};
  const auto never = [](const error&) { return false; };
  EXPECT_THROW(p.with({.retries = 3, .retry_if = never}).apply(dies_until, file("a"), 2),
               worker_lost);
  const auto late = [](const error& e) { return e.code() == errc::timeout; };
  EXPECT_TRUE(fails_with(errc::timeout, [&] {
    return p.with({.timeout = 1ms, .retries = 2, .retry_if = late})
        .apply(stopped_or_late, file("b"));
  }));
  EXPECT_EQ(marks(file("b")), 3U);
}

TEST_P(PoolRetry, WithBackoffWaitsBetweenTheAttempts) {
  pool p{options()};
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_EQ(p.with({.retries = 3, .backoff = 10ms}).apply(dies_until, file("a"), 4), 4);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 70ms);  // 10 + 20 + 40
  EXPECT_EQ(p.stats().retried, 3U);
}

TEST_P(PoolRetry, ATaskCanBeCancelledBetweenADeathAndItsNextAttempt) {
  pool p{options()};
  auto f = p.with({.retries = 3, .backoff = 1h}).apply_async(dies_until, file("a"), 4);
  ASSERT_TRUE(eventually([&] { return p.stats().deaths == 1 && p.stats().queued == 1; }));
  EXPECT_TRUE(f.cancel());
  EXPECT_TRUE(f.cancelled());
  EXPECT_EQ(p.stats().queued, 0U);
  p.close();
  p.join();
  EXPECT_EQ(marks(file("a")), 1U);
}

TEST_P(PoolRetry, CloseWaitsForTheAttemptsAfterADeath) {
  pool p{options(1)};
  auto f = p.with({.retries = 2, .backoff = 1ms}).apply_async(dies_until, file("a"), 3);
  p.close();
  p.join();
  EXPECT_EQ(f.get(), 3);
}

TEST_P(PoolRetry, TerminateEndsWhatWaitsForAnAttemptAfterADeath) {
  pool p{options()};
  auto f = p.with({.retries = 3, .backoff = 1h}).apply_async(dies_until, file("a"), 4);
  ASSERT_TRUE(eventually([&] { return p.stats().deaths == 1 && p.stats().queued == 1; }));
  p.terminate();
  p.join();
  EXPECT_TRUE(f.cancelled());
}

TEST_P(PoolRetry, APoisonTaskWithRetriesDoesNotBreakThePool) {
  pool_options strict = options();
  strict.restart.intensity = 1;
  pool p{strict};
  auto poison = p.with({.retries = 6}).apply_async(dies_until, file("a"), 100);
  EXPECT_THROW(poison.get(), worker_lost);
  EXPECT_EQ(marks(file("a")), 7U);
  EXPECT_EQ(p.apply(square, 3), 9);
  EXPECT_EQ(p.stats().deaths, 7U);
}

TEST_P(PoolRetry, InAMapOnlyTheItemThatDiedIsTriedAgain) {
  pool p{options()};
  const std::string tries = file("a");
  const auto results = p.with({.retries = 2})
                           .map(partial(
                                    [](const std::string& path, int i) {
                                      if (i == 57) {
                                        return dies_until(path, 2) * 1000;
                                      }
                                      return i;
                                    },
                                    tries),
                                std::views::iota(0, 100));
  EXPECT_EQ(results[57], 2000);
  EXPECT_EQ(results[99], 99);
  EXPECT_EQ(p.stats().retried, 1U);
}

TEST_P(PoolRetry, ADeadlineStopsWhatRunsAndKillsWhatDoesNotListen) {
  pool p{options()};
  EXPECT_TRUE(fails_with(
      errc::timeout, [&] { return p.with({.deadline = 20ms}).apply(stopped_or_late, file("a")); }));
  EXPECT_EQ(p.stats().deaths, 0U);
  auto deaf = p.with({.deadline = 20ms, .retries = 5, .grace = 1ms})
                  .apply_async(wait_at, file("running"), file("gate"));
  EXPECT_TRUE(fails_with(errc::timeout, [&] { return deaf.get(); }));
  EXPECT_EQ(p.stats().deaths, 0U);  // the pool's own doing
  EXPECT_EQ(p.apply(square, 4), 16);
}

TEST_P(PoolRetry, ADeadlineCountsOverDeathsToo) {
  pool p{options()};
  auto f = p.with({.deadline = 30ms, .retries = 100, .backoff = 1h})
               .apply_async(dies_until, file("a"), 1000);
  EXPECT_TRUE(fails_with(errc::timeout, [&] { return f.get(); }));
  EXPECT_EQ(p.stats().queued, 0U);
}

TEST_P(PoolRetry, ADeadlineOfAMapEndsWhatIsLeftOfIt) {
  pool p{options(1)};
  auto busy = p.apply_async(wait_at, file("running"), file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  auto f = p.with({.deadline = 5ms}).map_async(square, std::views::iota(0, 5000));
  EXPECT_TRUE(fails_with(errc::timeout, [&] { return f.get().size(); }));
  EXPECT_EQ(p.stats().queued, 0U);
  mark(file("gate"));
  busy.get();
}

TEST_P(PoolRetry, TheLabelIsInTheErrorTexts) {
  pool p{options(1)};
  try {
    p.with({.label = "nightly-7"}).apply(dies_until, file("a"), 2);
    ADD_FAILURE() << "it did not die";
  } catch (const worker_lost& e) {
    EXPECT_NE(std::string{e.what()}.find("'nightly-7'"), std::string::npos) << e.what();
  }
  auto busy = p.apply_async(wait_at, file("running"), file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  try {
    p.with({.deadline = 1ms, .label = "report"}).apply(square, 3);
    ADD_FAILURE() << "it had time";
  } catch (const timeout_error& e) {
    EXPECT_NE(std::string{e.what()}.find("'report'"), std::string::npos) << e.what();
  }
  mark(file("gate"));
  EXPECT_EQ(busy.get(), 1);
}

TEST_P(PoolRetry, BadOptionsAreRefusedByName) {
  const pool p{options()};
  const auto refuses = [&](const task_options& bad, const std::string& name) {
    try {
      static_cast<void>(p.with(bad));
    } catch (const std::invalid_argument& e) {
      EXPECT_NE(std::string{e.what()}.find(name), std::string::npos) << e.what();
      return true;
    }
    return false;
  };
  EXPECT_TRUE(refuses({.deadline = 0ms}, ".deadline"));
  EXPECT_TRUE(refuses({.deadline = -1ms}, ".deadline"));
  EXPECT_TRUE(refuses({.backoff = -1ms}, ".backoff"));
  EXPECT_TRUE(refuses({.label = "a\nb"}, ".label"));
  EXPECT_TRUE(refuses({.label = std::string("a\0b", 3)}, ".label"));
  EXPECT_TRUE(refuses({.label = std::string(201, 'x')}, ".label"));
}

}  // namespace
}  // namespace troupe::test
