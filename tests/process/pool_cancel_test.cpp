// SPDX-License-Identifier: BSD-3-Clause
// Cancelling, limits of time, priorities and retries.
#include "troupe/this_process.hpp"

#include "pool_fixture.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

struct PoolCancel : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(PoolCancel);

/// Runs until it is asked to stop; then says so and ends as it likes.
int until_stopped(const std::string& running, const std::string& stopped) {
  const std::stop_token stop = this_task::stop_token();
  mark(running);
  if (!eventually([&] { return stop.stop_requested(); })) {
    throw std::runtime_error{"it was not asked to stop"};
  }
  mark(stopped);
  return 7;
}

/// Runs for ever, until SIGKILL ends it.
int stubborn(const std::string& running) {
  ::signal(SIGTERM, SIG_IGN);
  mark(running);
  for (;;) {
    ::pause();
  }
}

void append(const std::string& path, const std::string& line) {
  std::ofstream{path, std::ios::app} << line << std::endl;
}
std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream in{path};
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  return lines;
}

void expect_all_cancelled(std::vector<future<void>>& behind) {
  for (auto& f : behind) {
    EXPECT_TRUE(f.cancel());
    EXPECT_TRUE(f.ready());
    EXPECT_TRUE(f.cancelled());
    EXPECT_FALSE(f.successful());
    EXPECT_FALSE(f.cancel()) << "it has an outcome now";
    EXPECT_THROW(f.get(), cancelled_error);
  }
}

TEST_P(PoolCancel, IsCertainForWhatIsQueued) {
  pool p{options(1)};
  const std::string gate = file("gate");
  const std::string ran = file("ran");
  auto running = p.apply_async(wait_at, file("running"), gate);
  std::vector<future<void>> behind;
  for (int i = 0; i < 20; ++i) {
    behind.push_back(p.apply_async(mark, ran));
  }
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  expect_all_cancelled(behind);
  EXPECT_FALSE(running.ready());
  mark(gate);
  EXPECT_EQ(running.get(), 1);
  EXPECT_EQ(p.apply(square, 3), 9);
  EXPECT_EQ(p.stats().cancelled, 20U);
  p.close();
  p.join();
  EXPECT_EQ(marks(ran), 0U) << "a cancelled task ran";
}

TEST_P(PoolCancel, ItsFailureIsTheSameForEachCallerAndOutlivesThePool) {
  future<int> cancelled;
  {
    pool p{options(1)};
    auto running = p.apply_async(wait_at, file("running"), file("gate"));
    cancelled = p.with({.label = "the second"}).apply_async(square, 3);
    ASSERT_TRUE(cancelled.cancel());
    mark(file("gate"));
    EXPECT_EQ(running.get(), 1);
  }
  std::vector<std::string> heard(4);
  {
    std::vector<std::jthread> askers;
    for (std::string& text : heard) {
      askers.emplace_back([&] {
        try {
          cancelled.get();
        } catch (const cancelled_error& e) {
          text = e.what();
        }
      });
    }
  }
  EXPECT_NE(heard[0].find("task #2 'the second' of pool"), std::string::npos) << heard[0];
  EXPECT_NE(heard[0].find("was cancelled before it began"), std::string::npos) << heard[0];
  EXPECT_EQ(heard, std::vector<std::string>(4, heard[0]));
}

TEST_P(PoolCancel, IsCertainForWhatWasSentToAWorkerAndHasNotBegun) {
  pool p{options(1)};
  const std::string ran = file("ran");
  auto sent = send_ahead(p, 20, [&](int) { return p.apply_async(mark, ran); });
  const std::size_t before = marks(ran);
  expect_all_cancelled(sent.behind);
  EXPECT_FALSE(sent.running.ready());
  mark(sent.gate);
  EXPECT_EQ(sent.running.get(), 1);
  EXPECT_EQ(p.apply(square, 3), 9);
  p.close();
  p.join();
  EXPECT_EQ(marks(ran), before) << "a cancelled task ran";
}

TEST_P(PoolCancel, WhatWasSentBehindATaskThatDiesRunsElsewhereOnce) {
  pool p{options(1)};
  const std::string ran = file("ran");
  auto sent = send_ahead(p, 20, [&](int) { return p.apply_async(mark, ran); });
  const std::size_t before = marks(ran);
  ::kill(static_cast<pid_t>(*pids_of(p).begin()), SIGKILL);
  EXPECT_THROW(sent.running.get(), worker_lost);
  for (auto& f : sent.behind) {
    f.get();
  }
  EXPECT_EQ(marks(ran), before + 20);
  EXPECT_EQ(p.stats().deaths, 1U);
  EXPECT_EQ(p.stats().retried, 0U);
}

TEST_P(PoolCancel, OneInTheMiddleLeavesItsNeighboursAlone) {
  pool p{options(1)};
  const std::string gate = file("gate");
  auto running = p.apply_async(wait_at, file("running"), gate);
  std::vector<future<int>> behind;
  for (int i = 0; i < 9; ++i) {
    behind.push_back(p.apply_async(square, i));
  }
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  for (const std::size_t i : {0U, 4U, 8U}) {
    EXPECT_TRUE(behind[i].cancel());
  }
  mark(gate);
  for (std::size_t i = 0; i < behind.size(); ++i) {
    if (i % 4 == 0) {
      EXPECT_THROW(behind[i].get(), cancelled_error);
    } else {
      EXPECT_EQ(behind[i].get(), square(static_cast<int>(i)));
    }
  }
}

TEST_P(PoolCancel, AsksARunningTaskWhichMayEndAsItLikes) {
  pool p{options()};
  auto f = p.apply_async(until_stopped, file("running"), file("stopped"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  const auto before = pids_of(p);
  EXPECT_FALSE(f.cancel());
  EXPECT_EQ(f.get(), 7);
  EXPECT_EQ(marks(file("stopped")), 1U);
  EXPECT_FALSE(f.cancelled());
  EXPECT_EQ(pids_of(p), before);
}

TEST_P(PoolCancel, OfOneTaskIsNotSeenByTheNextOfTheSameWorker) {
  pool p{options(1)};
  auto f = p.apply_async(until_stopped, file("running"), file("stopped"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  EXPECT_FALSE(f.cancel());
  f.wait();
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(p.apply([] { return this_task::stop_token().stop_requested(); }));
  }
  EXPECT_EQ(marks(file("stopped")), 1U);
}

TEST_P(PoolCancel, ByForceLetsATaskEndByItselfWithinTheGraceTime) {
  pool p{options()};
  const auto before = pids_of(p);
  auto f = p.with({.grace = 1h}).apply_async(until_stopped, file("running"), file("stopped"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  EXPECT_FALSE(f.cancel(force));
  f.wait();
  EXPECT_EQ(marks(file("stopped")), 1U);
  EXPECT_EQ(p.apply(square, 3), 9);
  EXPECT_EQ(pids_of(p), before);
}

TEST_P(PoolCancel, ByForceKillsAfterTheGraceTimeAndReplacesThatWorkerOnly) {
  pool p{options()};
  const auto before = pids_of(p);
  const std::string gate = file("gate");
  auto bystander = p.apply_async(wait_at, file("other"), gate);
  ASSERT_TRUE(eventually([&] { return marks(file("other")) > 0; }));
  auto f = p.with({.grace = 20ms}).apply_async(stubborn, file("running"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  EXPECT_FALSE(f.cancel(force));
  EXPECT_THROW(f.get(), cancelled_error);
  EXPECT_TRUE(f.cancelled());
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 2; }));
  const auto after = pids_of(p);
  std::vector<std::int64_t> kept;
  std::ranges::set_intersection(before, after, std::back_inserter(kept));
  EXPECT_EQ(kept.size(), 1U);
  EXPECT_FALSE(bystander.ready());
  mark(gate);
  EXPECT_EQ(bystander.get(), 1);
}

TEST_P(PoolCancel, WithoutAGraceTimeOfItsOwnATaskHasThatOfItsPool) {
  {
    pool_options patient = options(1);
    patient.grace = 1h;
    pool p{patient};
    const auto before = pids_of(p);
    auto f = p.with({.timeout = 1ms})
                 .apply_async(
                     [](const std::string& running, const std::string& stopped,
                        const std::string& gate) {
                       until_stopped(running, stopped);
                       return wait_at(running, gate);
                     },
                     file("running"), file("stopped"), file("gate"));
    ASSERT_TRUE(eventually([&] { return marks(file("stopped")) > 0; }));
    mark(file("gate"));
    EXPECT_THROW(f.get(), timeout_error);
    EXPECT_EQ(pids_of(p), before) << "its worker was killed before the pool's grace time was over";
  }
  pool_options impatient = options(1);
  impatient.grace = 20ms;
  pool p{impatient};
  const auto before = pids_of(p);
  auto f = p.with({.timeout = 1ms}).apply_async(stubborn, file("stubborn"));
  EXPECT_THROW(f.get(), timeout_error);
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 1 && pids_of(p) != before; }));
}

TEST_P(PoolCancel, OfAMapDropsWhatHasNotBegun) {
  pool p{options(1)};
  const std::string gate = file("gate");
  const std::string ran = file("ran");
  auto running = p.apply_async(wait_at, file("running"), gate);
  auto all = p.map_async(mark, std::vector<std::string>(5000, ran));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  EXPECT_TRUE(all.cancel());
  EXPECT_TRUE(all.ready());
  EXPECT_THROW(all.get(), cancelled_error);
  mark(gate);
  EXPECT_EQ(running.get(), 1);
  EXPECT_EQ(p.apply(square, 2), 4);
  EXPECT_EQ(p.stats().cancelled, 5000U);
  EXPECT_EQ(p.stats().queued, 0U);
  EXPECT_EQ(marks(ran), 0U);
}

TEST_P(PoolCancel, OfAMapThatRunsAsksTheRunningItem) {
  pool p{options(1)};
  auto all = p.starmap_async(
      until_stopped,
      std::vector<std::pair<std::string, std::string>>(50, {file("running"), file("stopped")}),
      {.chunk = 10});
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  static_cast<void>(all.cancel());  // an item that ends at once may make it true
  EXPECT_THROW(all.get(), cancelled_error);
  EXPECT_EQ(marks(file("running")), 1U);
  EXPECT_EQ(marks(file("stopped")), 1U);
}

TEST_P(PoolCancel, AnImapThatIsDroppedEarlyCancelsWhatHasNotBegun) {
  pool p{options(1)};
  const std::string gate = file("gate");
  const std::string ran = file("ran");
  auto running = p.apply_async(wait_at, file("running"), gate);
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  {
    const std::vector<std::string> input(100, ran);
    auto results = p.imap(
        [](const std::string& path) {
          mark(path);
          return 0;
        },
        input, {.window = 50});
    // begin() would wait for the first result, which stands behind the gate.
    std::jthread opener{[&] {
      static_cast<void>(eventually([&] { return p.stats().queued > 10; }));
      mark(gate);
    }};
    static_cast<void>(results.begin());
  }
  EXPECT_EQ(p.apply(square, 2), 4);
  EXPECT_EQ(p.stats().queued, 0U);
  EXPECT_LE(marks(ran), 50U);
  EXPECT_EQ(marks(ran), p.stats().succeeded - 2);
}

// ---- priority -----------------------------------------------------------------------------------

TEST_P(PoolCancel, HigherPrioritiesGoFirstAndWithinOneInOrder) {
  pool p{options(1)};
  const std::string gate = file("gate");
  const std::string log = file("log");
  auto running = p.apply_async(wait_at, file("running"), gate);
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  const auto later = [&](int priority, const std::string& what) {
    static_cast<void>(p.with({.priority = priority}).apply_async(append, log, what));
  };
  later(0, "normal 1");
  later(0, "normal 2");
  later(-1, "low");
  later(5, "high 1");
  later(5, "high 2");
  later(9, "highest");
  mark(gate);
  p.close();
  p.join();
  EXPECT_EQ(lines_of(log), (std::vector<std::string>{"highest", "high 1", "high 2", "normal 1",
                                                     "normal 2", "low"}));
}

// ---- timeout ------------------------------------------------------------------------------------

TEST_P(PoolCancel, ATimeoutStopsACooperativeTaskAndKeepsItsWorker) {
  pool p{options()};
  const auto before = pids_of(p);
  auto f = p.with({.timeout = 20ms, .grace = 1h})
               .apply_async(until_stopped, file("running"), file("stopped"));
  EXPECT_THROW(f.get(), timeout_error);
  EXPECT_EQ(marks(file("stopped")), 1U);
  EXPECT_FALSE(f.cancelled());
  EXPECT_FALSE(f.successful());
  EXPECT_EQ(p.apply(square, 3), 9);
  EXPECT_EQ(pids_of(p), before);
  EXPECT_EQ(p.stats().failed, 1U);
}

TEST_P(PoolCancel, ATimeoutKillsAStubbornTaskAndTouchesNoOther) {
  pool p{options()};
  const auto before = pids_of(p);
  const std::string gate = file("gate");
  auto bystander = p.apply_async(wait_at, file("other"), gate);
  ASSERT_TRUE(eventually([&] { return marks(file("other")) > 0; }));
  auto f = p.with({.timeout = 20ms, .grace = 20ms}).apply_async(stubborn, file("running"));
  std::vector<future<int>> behind;
  for (int i = 0; i < 10; ++i) {
    behind.push_back(p.apply_async(square, i));
  }
  try {
    f.get();
    FAIL() << "nothing was thrown";
  } catch (const timeout_error& thrown) {
    EXPECT_NE(std::string{thrown.what()}.find("20 ms"), std::string::npos) << thrown.what();
  }
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(behind[static_cast<std::size_t>(i)].get(), square(i));
  }
  mark(gate);
  EXPECT_EQ(bystander.get(), 1);
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 2; }));
}

TEST_P(PoolCancel, TimeoutsAreNoDeathsOfWorkers) {
  pool_options few = options(1);
  few.restart = {.intensity = 1, .period = 1h};
  pool p{few};
  for (int i = 0; i < 4; ++i) {
    auto f = p.with({.timeout = 1ms, .grace = 1ms}).apply_async(stubborn, file("running"));
    EXPECT_THROW(f.get(), timeout_error)
        << "the pool killed that worker itself: no reason to break";
  }
  EXPECT_EQ(p.apply(square, 3), 9);
  EXPECT_EQ(p.stats().deaths, 0U);
}

// ---- retries ------------------------------------------------------------------------------------

int dies_before_attempt(const std::string& log, std::uint32_t good) {
  append(log, std::to_string(this_task::attempt()));
  if (this_task::attempt() < good) {
    ::kill(::getpid(), SIGKILL);
  }
  return 42;
}

TEST_P(PoolCancel, ATaskThatKillsItsWorkerTwiceSucceedsAtItsThirdAttempt) {
  pool p{options()};
  auto f = p.with({.retries = 2}).apply_async(dies_before_attempt, file("log"), 3U);
  EXPECT_EQ(f.get(), 42);
  EXPECT_EQ(lines_of(file("log")), (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_EQ(p.stats().retried, 2U);
  EXPECT_EQ(p.stats().deaths, 2U);
}

TEST_P(PoolCancel, RetriesEndWithTheLastDeath) {
  pool p{options()};
  try {
    p.with({.retries = 2}).apply(dies_before_attempt, file("log"), 100U);
    FAIL() << "nothing was thrown";
  } catch (const worker_lost& thrown) {
    EXPECT_EQ(thrown.attempt(), 3U);
    EXPECT_EQ(thrown.signal(), SIGKILL);
    EXPECT_EQ(thrown.ran(), task_ran::maybe);
  }
  EXPECT_EQ(lines_of(file("log")), (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_EQ(p.apply(square, 2), 4);
}

TEST_P(PoolCancel, WithoutRetriesATaskIsNeverRunTwice) {
  pool p{options()};
  EXPECT_THROW(p.apply(dies_before_attempt, file("log"), 2U), worker_lost);
  EXPECT_EQ(lines_of(file("log")).size(), 1U);
  EXPECT_EQ(p.stats().retried, 0U);
}

TEST_P(PoolCancel, ATaskThatThrowsIsNotRetried) {
  pool p{options()};
  EXPECT_THROW(p.with({.retries = 5})
                   .apply(
                       [](const std::string& path) {
                         mark(path);
                         throw std::domain_error{"no"};
                       },
                       file("ran")),
               std::domain_error);
  EXPECT_EQ(marks(file("ran")), 1U);
}

int dies_once_at_13(const std::string& log, int item) {
  if (item == 13) {
    return dies_before_attempt(log, 2);
  }
  mark(log + ".others");
  return item;
}

TEST_P(PoolCancel, OnlyTheItemThatDiedIsRetried) {
  pool p{options()};
  const auto results =
      p.with({.retries = 1})
          .map(partial(dies_once_at_13, file("log")), std::views::iota(0, 40), {.chunk = 8});
  ASSERT_EQ(results.size(), 40U);
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(results[static_cast<std::size_t>(i)], i == 13 ? 42 : i);
  }
  EXPECT_EQ(marks(file("log.others")), 39U) << "a neighbour of the item that died ran twice";
  EXPECT_EQ(lines_of(file("log")), (std::vector<std::string>{"1", "2"}));
}

TEST_P(PoolCancel, WithoutRetriesOnlyTheItemThatDiedFails) {
  pool p{options()};
  auto results =
      p.imap(partial(dies_once_at_13, file("log")), std::views::iota(0, 40), {.chunk = 8});
  int lost = 0;
  int position = 0;
  for (auto it = results.begin(); it != results.end(); ++it, ++position) {
    try {
      EXPECT_EQ(*it, position);
    } catch (const worker_lost&) {
      EXPECT_EQ(position, 13);
      ++lost;
    }
  }
  EXPECT_EQ(position, 40);
  EXPECT_EQ(lost, 1);
  EXPECT_EQ(marks(file("log.others")), 39U);
}

TEST_P(PoolCancel, ThisTaskTellsIdAndAttemptAndNothingOutside) {
  pool p{options()};
  const auto [id, attempt] =
      p.apply([] { return std::pair{this_task::id(), this_task::attempt()}; });
  EXPECT_GT(id, 0U);
  EXPECT_EQ(attempt, 1U);
  EXPECT_EQ(this_task::id(), 0U);
  EXPECT_EQ(this_task::attempt(), 0U);
  EXPECT_FALSE(this_task::stop_token().stop_possible());
}

}  // namespace
}  // namespace troupe::test
