// SPDX-License-Identifier: BSD-3-Clause
// What pools of processes and thread pools promise alike of attempts after the first, and of limits in time. What only
// a process can do, to die in an attempt, is in pool_retry_test.
#include "troupe/log.hpp"
#include "troupe/this_task.hpp"

#include "conformance_fixture.hpp"

#include <atomic>
#include <ranges>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

namespace troupe::test {
namespace {

template <class Kind>
struct Retries : conformance_suite<Kind> {};
TYPED_TEST_SUITE(Retries, pools, pool_names);

template <class Kind>
struct Limits : conformance_suite<Kind> {};
TYPED_TEST_SUITE(Limits, pools, pool_names);

/// Throws until it has been tried `times` times.
int throws_until(const std::string& tries, int times) {
  mark(tries);
  if (marks(tries) < static_cast<std::size_t>(times)) {
    throw std::out_of_range{"not yet"};
  }
  return static_cast<int>(this_task::attempt());
}

int throws_a_logic_error(const std::string& tries) {
  mark(tries);
  throw std::logic_error{"hopeless"};
}

bool is_transient(const error& e) {
  return std::string{e.what()}.find("not yet") != std::string::npos;
}

// ---- retries ------------------------------------------------------------------------------------

TROUPE_CONFORMANCE(Retries, OfWhatThrewOnlyIfThePredicateSaysSo) {
  auto p = self.make();
  const std::string a = self.file("a");
  EXPECT_EQ(p.with({.retries = 5, .retry_if = is_transient}).apply(throws_until, a, 3), 3);
  EXPECT_EQ(marks(a), 3U);
  EXPECT_EQ(p.stats().failed, 0U);

  const std::string b = self.file("b");
  EXPECT_THROW(p.with({.retries = 5}).apply(throws_until, b, 3), std::out_of_range);
  EXPECT_EQ(marks(b), 1U);

  const std::string c = self.file("c");
  EXPECT_THROW(p.with({.retries = 5, .retry_if = is_transient}).apply(throws_a_logic_error, c),
               std::logic_error);
  EXPECT_EQ(marks(c), 1U);
  EXPECT_EQ(p.stats().retried, 2U);
  EXPECT_EQ(p.stats().queued, 0U);
}

TROUPE_CONFORMANCE(Retries, ThePredicateIsAskedOnceForEveryFailureWhileRetriesAreLeft) {
  auto p = self.make();
  std::atomic<int> asked{0};
  const auto always = [&](const error&) {
    ++asked;
    return true;
  };
  EXPECT_THROW(
      p.with({.retries = 2, .retry_if = always}).apply(throws_until, self.file("tries"), 100),
      std::out_of_range);
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(marks(self.file("tries")), 3U);
}

TROUPE_CONFORMANCE(Retries, APredicateThatThrowsMeansNo) {
  auto p = self.make();
  set_log_hook([](log_level, std::string_view) {});
  const auto broken = [](const error&) -> bool { throw std::domain_error{"the predicate"}; };
  EXPECT_THROW(
      p.with({.retries = 2, .retry_if = broken}).apply(throws_until, self.file("tries"), 9),
      std::out_of_range);
  EXPECT_EQ(marks(self.file("tries")), 1U);
  Words::end(p);
  set_log_hook({});
}

TROUPE_CONFORMANCE(Retries, BetweenTwoAttemptsATaskCanBeCancelledForCertain) {
  auto p = self.make({.workers = 1});
  std::atomic<bool> asked{false};
  const auto again = [&](const error&) { return asked = true; };
  auto waits = p.with({.retries = 1, .retry_if = again, .backoff = 1h})
                   .apply_async(throws_until, self.file("tries"), 2);
  ASSERT_TRUE(eventually([&] { return asked.load(); }));
  EXPECT_TRUE(waits.cancel());
  EXPECT_TRUE(waits.cancelled());
  EXPECT_EQ(p.stats().queued, 0U);
  Words::end(p);  // it does not wait for the backoff
  EXPECT_EQ(marks(self.file("tries")), 1U);
}

TROUPE_CONFORMANCE(Retries, CloseWaitsForTheAttemptsThatAreLeft) {
  auto p = self.make();
  auto waits = p.with({.retries = 5, .retry_if = is_transient, .backoff = 2ms})
                   .apply_async(throws_until, self.file("tries"), 4);
  p.close();
  p.join();
  EXPECT_TRUE(waits.ready());
  EXPECT_EQ(waits.get(), 4);
}

TROUPE_CONFORMANCE(Retries, TerminateEndsWhatWaitsForItsNextAttempt) {
  auto p = self.make();
  std::atomic<int> asked{0};
  const auto again = [&](const error&) { return ++asked > 0; };
  std::vector<future<int>> all;
  for (int i = 0; i < 10; ++i) {
    all.push_back(p.with({.retries = 3, .retry_if = again, .backoff = 1h})
                      .apply_async(throws_until, self.file("tries"), 1000));
  }
  ASSERT_TRUE(eventually([&] { return asked == 10; }));
  p.terminate();
  p.join();
  for (const auto& f : all) {
    EXPECT_TRUE(f.ready());
    EXPECT_FALSE(f.successful());
  }
  EXPECT_EQ(marks(self.file("tries")), 10U);
}

TROUPE_CONFORMANCE(Retries, InAMapOnlyTheItemIsTriedAgain) {
  auto p = self.make();
  const auto sometimes = [](const std::string& tries, int i) {
    return i % 10 == 3 ? throws_until(tries + std::to_string(i), 2) * 1000 : i;
  };
  for (const std::size_t chunk : {1U, 16U, 0U}) {
    const std::string tries = self.file("tries") + std::to_string(chunk) + "_";
    const auto results =
        p.with({.retries = 2, .retry_if = is_transient})
            .map(partial(sometimes, tries), std::views::iota(0, 50), {.chunk = chunk});
    ASSERT_EQ(results.size(), 50U);
    for (int i = 0; i < 50; ++i) {
      EXPECT_EQ(results[static_cast<std::size_t>(i)], i % 10 == 3 ? 2000 : i);
    }
  }
  EXPECT_EQ(p.stats().retried, 15U);
  const auto never = [](int i) {
    if (i == 5) {
      throw std::out_of_range{"not yet, and never"};
    }
    return i;
  };
  EXPECT_THROW(p.with({.retries = 2, .retry_if = is_transient}).map(never, std::views::iota(0, 50)),
               std::out_of_range);
}

int of_each_kind(int item, const std::string& tries, const std::string& running,
                 const std::string& gate) {
  if (item == 0) {
    throw std::out_of_range{"no"};
  }
  return item == 1 ? throws_until(tries, 2) : wait_at(running, gate);
}

TROUPE_CONFORMANCE(Retries, AMapHasCountsOfItsOwn) {
  auto p = self.make();
  using item = std::tuple<int, std::string, std::string, std::string>;
  std::vector<item> items;
  // The one that fails comes last, where it cuts off nothing.
  for (const int i : {1, 2, 3, 4, 5, 6, 7, 0}) {
    items.emplace_back(i, self.file("tries"), self.file("running"), self.file("gate"));
  }
  auto other = p.apply_async(square, 3);
  EXPECT_EQ(other.get(), 9);
  EXPECT_EQ(other.counts(), (task_counts{.total = 1, .succeeded = 1}));
  auto f = p.with({.retries = 3, .retry_if = is_transient})
               .starmap_async(of_each_kind, items, {.chunk = 1});
  ASSERT_TRUE(eventually([&] { return marks(self.file("running")) == 2; }));
  ASSERT_TRUE(eventually([&] {
    const task_counts now = f.counts();
    return now.running >= 2 && now.total == 8 &&
           now.queued + now.running + now.succeeded + now.failed + now.cancelled == 8;
  }));
  self.open_gate();
  EXPECT_THROW(f.get(), std::out_of_range);
  EXPECT_EQ(f.counts(), (task_counts{.total = 8, .succeeded = 7, .failed = 1, .retried = 1}));
}

// ---- deadlines and timeouts ---------------------------------------------------------------------

TROUPE_CONFORMANCE(Limits, ADeadlineCountsOverAllAttempts) {
  auto p = self.make();
  auto late = p.with({.deadline = 30ms, .retries = 100, .retry_if = is_transient, .backoff = 1h})
                  .apply_async(throws_until, self.file("tries"), 1000);
  EXPECT_TRUE(fails_with(errc::timeout, [&] { return late.get(); }));
  EXPECT_LE(marks(self.file("tries")), 1U);
  EXPECT_EQ(p.stats().queued, 0U);
}

TROUPE_CONFORMANCE(Limits, ADeadlineEndsWhatHasNotBegun) {
  auto p = self.make({.workers = 1});
  const auto held = self.hold(p);
  auto late = p.with({.deadline = 1ms}).apply_async(square, 3);
  EXPECT_TRUE(fails_with(errc::timeout, [&] { return late.get(); }));
  try {
    late.get();
  } catch (const timeout_error& e) {
    EXPECT_EQ(e.ran(), task_ran::no);
  }
  EXPECT_EQ(p.stats().queued, 0U);
  self.open_gate();
  EXPECT_EQ(held.get(), 1);
  EXPECT_EQ(p.apply(square, 4), 16) << "nothing else is harmed";
}

TROUPE_CONFORMANCE(Limits, ADeadlineInTimeChangesNothing) {
  auto p = self.make();
  for (int i = 0; i < 3000; ++i) {  // more than are kept in mind at once
    ASSERT_EQ(p.with({.deadline = 1h}).apply(square, 3), 9);
  }
  EXPECT_EQ(p.with({.deadline = 1h}).map(square, std::views::iota(0, 100)).at(9), 81);
}

TROUPE_CONFORMANCE(Limits, EachItemOfAMapHasTheWholeTimeout) {
  auto p = self.make({.workers = 1});
  const auto second_waits = [](int i) {
    const auto token = this_task::stop_token();
    if (i == 1 && !eventually([&] { return token.stop_requested(); })) {
      throw std::runtime_error{"the item was not asked to stop"};
    }
    return i;
  };
  auto results = p.with({.timeout = 50ms, .grace = 1h})
                     .imap(second_waits, std::views::iota(0, 4), {.chunk = 4});
  std::string ends;
  for (auto it = results.begin(); it != results.end(); ++it) {
    try {
      ends += std::to_string(*it);
    } catch (const timeout_error&) {
      ends += 'T';
    }
  }
  EXPECT_EQ(ends, "0T23");
}

}  // namespace
}  // namespace troupe::test
