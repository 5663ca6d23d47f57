// SPDX-License-Identifier: BSD-3-Clause
// What a pool, a thread pool and the executors over both promise alike: one suite for all of them.
#include "troupe/log.hpp"
#include "troupe/this_task.hpp"

#include "conformance_fixture.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

using kinds =
    testing::Types<kind<a_pool>, kind<a_pool, start_method::spawn>,
                   kind<a_pool, start_method::fork>, kind<a_thread_pool>, kind<a_process_executor>,
                   kind<a_process_executor, start_method::spawn>,
                   kind<a_process_executor, start_method::fork>, kind<a_thread_executor>>;

struct kind_names {
  template <class Kind>
  static std::string GetName(int place) {
    static const std::vector<std::string> names{
        "pool_forkserver",     "pool_spawn",     "pool_fork",     "thread_pool",
        "executor_forkserver", "executor_spawn", "executor_fork", "thread_executor"};
    return names[static_cast<std::size_t>(place)];
  }
};

template <class Kind>
struct Conformance : conformance_suite<Kind> {};
TYPED_TEST_SUITE(Conformance, kinds, kind_names);

template <class Kind>
class ConformanceOfPools : public conformance_suite<Kind> {};
TYPED_TEST_SUITE(ConformanceOfPools, pools, pool_names);

int fail(int) {
  throw std::out_of_range{"it failed"};
}
int fails_at_multiples_of_five(int x) {
  if (x % 5 == 0 && x > 0) {
    throw std::out_of_range{std::to_string(x)};
  }
  return x;
}

// ---- results ------------------------------------------------------------------------------------

TROUPE_CONFORMANCE(Conformance, GivesTheResultsOfASerialRun) {
  auto p = self.make();
  EXPECT_EQ(Words::submit(p, add, 2, 3).get(), 5);
  std::vector<future<int>> futures;
  for (int i = 0; i < 300; ++i) {
    futures.push_back(Words::submit(p, square, i));
  }
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(futures[static_cast<std::size_t>(i)].get(), i * i);
  }
}

TROUPE_CONFORMANCE(Conformance, MapsInInputOrderWhateverTheChunk) {
  auto p = self.make();
  for (const std::size_t chunk : {0U, 1U, 3U, 100U, 5000U}) {
    int next = 0;
    for (const int y : Words::lazy(p, square, std::views::iota(0, 1000), {.chunk = chunk})) {
      EXPECT_EQ(y, square(next));
      ++next;
    }
    EXPECT_EQ(next, 1000) << "chunk " << chunk;
  }
}

TROUPE_CONFORMANCE(Conformance, AnEmptyInputEndsAtOnce) {
  auto p = self.make();
  const auto held = self.hold(p);
  for (const int y : Words::lazy(p, square, std::vector<int>{})) {
    ADD_FAILURE() << "there is no item, and yet " << y;
  }
  self.open_gate();
}

TROUPE_CONFORMANCE(Conformance, FunctionsMayReturnNothing) {
  auto p = self.make();
  const future<void> f =
      Words::submit(p, [](const std::string& path) { mark(path); }, self.file("ran"));
  f.get();
  EXPECT_EQ(marks(self.file("ran")), 1U);
}

TROUPE_CONFORMANCE(Conformance, FiftyTasksAndTheEndAtOnceLoseNothing) {
  auto p = self.make();
  std::vector<future<int>> futures;
  for (int i = 0; i < 50; ++i) {
    futures.push_back(Words::submit(p, square, i));
  }
  Words::end(p);
  for (int i = 0; i < 50; ++i) {
    const auto& f = futures[static_cast<std::size_t>(i)];
    ASSERT_TRUE(f.ready());
    EXPECT_EQ(f.get(), i * i);
  }
}

TROUPE_CONFORMANCE(Conformance, FuturesOutliveThePool) {
  future<int> good;
  future<int> bad;
  {
    auto p = self.make();
    good = Words::submit(p, square, 3);
    bad = Words::submit(p, fail, 3);
    Words::end(p);
  }
  EXPECT_EQ(good.get(), 9);
  EXPECT_EQ(good.get(), 9);
  EXPECT_THROW(bad.get(), std::out_of_range);
}

// ---- failures -----------------------------------------------------------------------------------

TROUPE_CONFORMANCE(Conformance, ExceptionsArriveAsThemselves) {
  auto p = self.make();
  const auto f = Words::submit(p, fail, 1);
  EXPECT_THROW(f.get(), std::out_of_range);
  EXPECT_THROW(f.get(), std::out_of_range) << "the second time too";
  EXPECT_THROW(std::rethrow_exception(f.exception()), std::out_of_range);
  EXPECT_FALSE(f.successful());
  EXPECT_FALSE(f.cancelled());
  std::string text;
  bool remote = false;
  f.on_error([&](const error& e) {
    text = e.what();
    remote = dynamic_cast<const remote_error*>(&e) != nullptr;
  });
  Words::end(p);
  EXPECT_NE(text.find("it failed"), std::string::npos) << text;
  EXPECT_TRUE(remote) << "callbacks get a remote_error for what a task threw";
}

TROUPE_CONFORMANCE(Conformance, IterationGoesOnAfterAnException) {
  auto p = self.make();
  for (const std::size_t chunk : {0U, 1U, 4U}) {
    auto results =
        Words::lazy(p, fails_at_multiples_of_five, std::views::iota(1, 21), {.chunk = chunk});
    std::vector<int> values;
    std::vector<std::string> failures;
    for (auto it = results.begin(); it != results.end(); ++it) {
      try {
        values.push_back(*it);
      } catch (const std::out_of_range& thrown) {
        failures.emplace_back(thrown.what());
      }
    }
    EXPECT_EQ(values.size(), 16U);
    EXPECT_EQ(failures, (std::vector<std::string>{"5", "10", "15", "20"}));
  }
}

TROUPE_CONFORMANCE(Conformance, AnInputThatThrowsDoesSoAfterTheItemsBeforeIt) {
  auto p = self.make();
  auto input = std::views::iota(0) | std::views::transform([](int i) {
                 if (i == 7) {
                   throw std::domain_error{"element 7"};
                 }
                 return i;
               });
  std::vector<int> values;
  try {
    for (const int y : Words::lazy(p, square, input)) {
      values.push_back(y);
    }
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::domain_error& thrown) {
    EXPECT_STREQ(thrown.what(), "element 7");
  }
  EXPECT_EQ(values.size(), 7U);
  EXPECT_EQ(Words::submit(p, square, 3).get(), 9) << "it can be used again";
}

// ---- callbacks ----------------------------------------------------------------------------------

TROUPE_CONFORMANCE(Conformance, DoneCallbacksSeeTheFinalState) {
  auto p = self.make({.workers = 1});
  const auto held = self.hold(p);
  const auto good = Words::submit(p, square, 3);
  const auto bad = Words::submit(p, fail, 3);
  auto gone = Words::submit(p, square, 4);
  std::vector<std::string> seen;  // one thread calls, and the end waits for it
  const auto tell = [&seen](const char* name) {
    return [&seen, name](const future<int>& f) {
      seen.push_back(std::string{name} + (f.ready() ? " ready" : " not ready") +
                     (f.successful() ? " successful" : "") + (f.cancelled() ? " cancelled" : ""));
    };
  };
  good.on_done(tell("good"));
  bad.on_done(tell("bad"));
  gone.on_done(tell("gone"));
  EXPECT_TRUE(gone.cancel());
  self.open_gate();
  good.wait();
  bad.wait();
  good.on_done(tell("late good"));
  bad.on_done(tell("late bad"));
  gone.on_done(tell("late gone"));
  Words::end(p);
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen,
            (std::vector<std::string>{"bad ready", "gone ready cancelled", "good ready successful",
                                      "late bad ready", "late gone ready cancelled",
                                      "late good ready successful"}));
}

TROUPE_CONFORMANCE(Conformance, ACallbackThatThrowsIsReportedAndTheNextOnesRun) {
  std::atomic<int> reports{0};
  set_log_hook([&](log_level, std::string_view) { ++reports; });
  std::atomic<int> calls{0};
  {
    auto p = self.make();
    const auto f = Words::submit(p, square, 3);
    f.on_done([](const future<int>&) { throw std::domain_error{"no"}; });
    f.on_done([&](const future<int>&) { ++calls; });
    f.wait();
    f.on_done([](const future<int>&) { throw 1; });
    f.on_done([&](const future<int>&) { ++calls; });
    Words::end(p);
    EXPECT_EQ(f.get(), 9);
  }
  set_log_hook({});
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(reports, 2);
}

int run_until_stopped(const std::string& running) {
  mark(running);
  const auto token = this_task::stop_token();
  return eventually([&] { return token.stop_requested(); }) ? 1 : 0;
}

// It dropped them without a word.
TROUPE_CONFORMANCE(ConformanceOfPools, ADestructorSaysHowManyTasksItDrops) {
  std::mutex mutex;
  std::vector<std::string> warnings;
  set_log_hook([&](log_level level, std::string_view text) {
    const std::lock_guard lock{mutex};
    if (level == log_level::warning) {
      warnings.emplace_back(text);
    }
  });
  {
    auto p = self.make({.workers = 1});
    std::vector<future<int>> kept;
    for (int i = 0; i < 5; ++i) {
      kept.push_back(Words::submit(p, run_until_stopped, self.file("running")));
    }
    EXPECT_TRUE(eventually([&] { return marks(self.file("running")) == 1; }));
  }
  {
    auto p = self.make({.workers = 1});
    Words::submit(p, square, 3).get();
    Words::end(p);
  }
  set_log_hook({});
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_NE(warnings[0].find("before 4 tasks had begun"), std::string::npos) << warnings[0];
}

TROUPE_CONFORMANCE(Conformance, ACallbackMaySubmit) {
  auto p = self.make({.workers = 1});
  std::atomic<int> sum{0};
  std::atomic<bool> submitted{false};
  Words::submit(p, square, 2).on_result([&](int four) {
    Words::submit(p, square, four).on_result([&](int sixteen) { sum = sixteen; });
    submitted = true;
  });
  ASSERT_TRUE(eventually([&] { return submitted.load(); }));
  Words::end(p);
  EXPECT_EQ(sum, 16);
}

// ---- cancelling, waiting ------------------------------------------------------------------------

TROUPE_CONFORMANCE(Conformance, TheTableOfCancelledRunningReady) {
  auto p = self.make({.workers = 1});
  auto running = self.hold(p);
  auto queued = Words::submit(p, square, 3);
  EXPECT_TRUE(eventually([&] { return running.running(); }));
  EXPECT_FALSE(running.ready());
  EXPECT_FALSE(running.cancelled());
  EXPECT_FALSE(queued.running());
  EXPECT_FALSE(queued.ready());
  EXPECT_THROW(static_cast<void>(queued.successful()), std::logic_error);
  EXPECT_FALSE(running.get_for(0ms).has_value());
  EXPECT_FALSE(queued.wait_for(-1h));
  EXPECT_TRUE(queued.cancel());
  EXPECT_FALSE(queued.cancel()) << "it has an outcome";
  EXPECT_TRUE(queued.cancelled());
  EXPECT_TRUE(queued.ready());
  EXPECT_FALSE(queued.running());
  EXPECT_FALSE(queued.successful());
  EXPECT_THROW(queued.get_for(0ms), cancelled_error);
  EXPECT_THROW(queued.get(), cancelled_error);
  EXPECT_FALSE(running.cancel()) << "it had begun";
  self.open_gate();
  EXPECT_EQ(running.get(), 1);
  EXPECT_EQ(running.get_for(0ms), 1);
  EXPECT_FALSE(running.cancel());
  EXPECT_FALSE(running.running());
  EXPECT_TRUE(running.successful());
}

TROUPE_CONFORMANCE(Conformance, WhatWasCancelledNeverRuns) {
  auto p = self.make({.workers = 1});
  const auto held = self.hold(p);
  std::vector<future<int>> queued;
  const auto leave_mark = [](const std::string& path) {
    mark(path);
    return 0;
  };
  for (int i = 0; i < 10; ++i) {
    queued.push_back(Words::submit(p, leave_mark, self.file("ran")));
  }
  for (int i = 0; i < 10; i += 2) {
    EXPECT_TRUE(queued[static_cast<std::size_t>(i)].cancel());
  }
  self.open_gate();
  Words::end(p);
  EXPECT_EQ(marks(self.file("ran")), 5U);
  EXPECT_EQ(p.stats().cancelled, 5U);
}

int until_stopped(const std::string& running) {
  const auto token = this_task::stop_token();
  mark(running);
  return eventually([&] { return token.stop_requested(); }) ? 1 : 0;
}

TROUPE_CONFORMANCE(Conformance, CancellingARunningTaskSetsItsStopToken) {
  auto p = self.make();
  auto f = Words::submit(p, until_stopped, self.file("running"));
  ASSERT_TRUE(eventually([&] { return marks(self.file("running")) > 0; }));
  EXPECT_FALSE(f.cancel());
  EXPECT_EQ(f.get(), 1);
}

TROUPE_CONFORMANCE(Conformance, ATimeoutStopsACooperativeTask) {
  auto p = self.make();
  const auto workers = p.workers();
  const auto f =
      Words::submit(p.with({.timeout = 20ms, .grace = 1h}), until_stopped, self.file("running"));
  EXPECT_THROW(f.get(), timeout_error);
  EXPECT_FALSE(f.cancelled());
  EXPECT_EQ(Words::submit(p, square, 3).get(), 9);
  EXPECT_EQ(p.workers(), workers);
}

TROUPE_CONFORMANCE(Conformance, ATimeoutIsMeasuredFromTheTasksBegin) {
  auto p = self.make({.workers = 1});
  const auto held = self.hold(p);
  const auto behind = Words::submit(p.with({.timeout = 30ms}), square, 3);
  EXPECT_FALSE(behind.wait_for(60ms)) << "it has not begun";
  self.open_gate();
  EXPECT_EQ(behind.get(), 9);
}

// ---- a map's limit of time ----------------------------------------------------------------------

int mark_it(const std::string& path) {
  mark(path);
  return 7;
}

TROUPE_CONFORMANCE(Conformance, AMapThatIsDoneInItsTimeGivesItsResults) {
  auto p = self.make();
  EXPECT_EQ(Words::whole(p, square, std::views::iota(0, 4), {.timeout = 1h}),
            (std::vector<int>{0, 1, 4, 9}));
}

TROUPE_CONFORMANCE(Conformance, AMapThatIsNotDoneInItsTimeThrowsAndCancelsWhatHasNotBegun) {
  auto p = self.make({.workers = 1});
  const auto held = self.hold(p);
  const std::vector<std::string> items(20, self.file("ran"));
  EXPECT_THROW(Words::whole(p, mark_it, items, {.chunk = 1, .timeout = 20ms}), timeout_error);
  EXPECT_TRUE(eventually([&] { return p.stats().cancelled + 1 == p.stats().submitted; }));
  EXPECT_GT(p.stats().submitted, 1U) << "no item was submitted, so none was cancelled";
  self.open_gate();
  Words::end(p);
  EXPECT_EQ(held.get(), 1) << "the limit is the map's, not that of others";
  EXPECT_EQ(marks(self.file("ran")), 0U) << "a cancelled item ran";
}

TROUPE_CONFORMANCE(Conformance, AnIterationThatIsNotDoneInItsTimeThrowsAndCancelsWhatHasNotBegun) {
  auto p = self.make({.workers = 1});
  const auto held = self.hold(p);
  const std::vector<std::string> items(20, self.file("ran"));
  {
    auto results = Words::lazy(p, mark_it, items, {.chunk = 1, .timeout = 20ms});
    EXPECT_THROW(static_cast<void>(results.begin()), timeout_error);
  }
  EXPECT_TRUE(eventually([&] { return p.stats().cancelled + 1 == p.stats().submitted; }));
  self.open_gate();
  Words::end(p);
  EXPECT_EQ(held.get(), 1);
  EXPECT_EQ(marks(self.file("ran")), 0U) << "a cancelled item ran";
}

/// Runs until the gate is opened, or until it is asked to stop.
int wait_at_gate(const std::string& running, const std::string& gate) {
  mark(running);
  const std::stop_token stop = this_task::stop_token();
  EXPECT_TRUE(eventually([&] { return marks(gate) > 0 || stop.stop_requested(); }));
  if (stop.stop_requested()) {
    mark(running + " was asked to stop");
  }
  return 1;
}

TROUPE_CONFORMANCE(Conformance, WhatRunsWhenAMapsTimeIsOverIsAskedToStopOnThreadsOnly) {
  auto p = self.make({.workers = 1});
  const std::string running = self.file("running");
  const std::string gate = self.file("gate");
  // The second item is pulled once the first one runs, however long that takes.
  const auto input = std::views::iota(0, 3) | std::views::transform([&](int i) {
                       EXPECT_TRUE(i == 0 || eventually([&] { return marks(running) > 0; }));
                       return std::pair{running, gate};
                     });
  const auto wait = [](const std::pair<std::string, std::string>& paths) {
    return wait_at_gate(paths.first, paths.second);
  };
  EXPECT_THROW(Words::whole(p, wait, input, {.chunk = 1, .timeout = 20ms}), timeout_error);
  EXPECT_EQ(marks(running + " was asked to stop"), Words::threads ? 1U : 0U);
  mark(gate);
  Words::end(p);
  EXPECT_EQ(marks(running), 1U) << "an item that had not begun ran";
  EXPECT_EQ(p.stats().succeeded, 1U);
}

/// The first item ends at once, the second runs until the gate is opened, the others leave a mark.
struct one_held_item {
  int number = 0;
  std::string running, gate, ran;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(number, running, gate, ran);
  }
};
int run_item(const one_held_item& item) {
  if (item.number == 1) {
    return wait_at_gate(item.running, item.gate);
  }
  if (item.number > 1) {
    mark(item.ran);
  }
  return 0;
}

template <class Words>
std::vector<one_held_item> items_with_one_held(const conformance<Words>& test) {
  std::vector<one_held_item> made;
  for (int i = 0; i < 20; ++i) {
    made.push_back({i, test.file("running"), test.file("gate"), test.file("ran")});
  }
  return made;
}

TROUPE_CONFORMANCE(Conformance, AnIterationThatIsLeftEarlyCancelsWhatHasNotBegun) {
  auto p = self.make({.workers = 1});
  {
    auto results = Words::lazy(p, run_item, items_with_one_held(self), {.chunk = 1});
    EXPECT_EQ(*results.begin(), 0);
    ASSERT_TRUE(eventually([&] { return marks(self.file("running")) > 0; }));
  }
  mark(self.file("gate"));
  Words::end(p);
  EXPECT_EQ(marks(self.file("ran")), 0U) << "a cancelled item ran";
}

TROUPE_CONFORMANCE(ConformanceOfPools, MapAsyncRefusesALimitOfTimeAndSaysWhatToDo) {
  auto p = self.make();
  try {
    static_cast<void>(p.map_async(square, std::views::iota(0, 3), {.timeout = 1h}));
    ADD_FAILURE() << "it was taken";
  } catch (const std::invalid_argument& refused) {
    EXPECT_NE(std::string{refused.what()}.find("wait_for"), std::string::npos) << refused.what();
  }
  EXPECT_THROW(static_cast<void>(
                   p.starmap_async(add, std::vector<std::pair<int, int>>{{1, 2}}, {.timeout = 1h})),
               std::invalid_argument);
  EXPECT_EQ(p.stats().submitted, 0U) << "an item was submitted";
}

TROUPE_CONFORMANCE(ConformanceOfPools, AnUnorderedIterationThatIsLeftEarlyCancelsWhatHasNotBegun) {
  auto p = self.make({.workers = 1});
  {
    auto results = p.imap_unordered(run_item, items_with_one_held(self), {.chunk = 1});
    EXPECT_EQ(*results.begin(), 0);
    ASSERT_TRUE(eventually([&] { return marks(self.file("running")) > 0; }));
  }
  mark(self.file("gate"));
  Words::end(p);
  EXPECT_EQ(marks(self.file("ran")), 0U) << "a cancelled item ran";
}

// ---- order, bounds ------------------------------------------------------------------------------

int append_name(const std::string& path, const std::string& name) {
  std::ofstream{path, std::ios::app} << name << ' ';
  return 0;
}

TROUPE_CONFORMANCE(Conformance, HigherPrioritiesBeginFirst) {
  auto p = self.make({.workers = 1});
  const auto held = self.hold(p);
  const std::string log = self.file("log");
  Words::submit(p.with({.priority = -1}), append_name, log, std::string{"low"});
  Words::submit(p, append_name, log, std::string{"first"});
  Words::submit(p, append_name, log, std::string{"second"});
  Words::submit(p.with({.priority = 5}), append_name, log, std::string{"high"});
  self.open_gate();
  Words::end(p);
  std::string order;
  std::getline(std::ifstream{log}, order);
  EXPECT_EQ(order, "high first second low ");
}

TROUPE_CONFORMANCE(Conformance, AFullQueueRefusesTryAndBlocksTheOthers) {
  auto p = self.make({.workers = 1, .max_queued = 2});
  const auto held = self.hold(p);
  // How many fit is not the same for all: what was sent ahead to a worker is not queued.
  std::vector<future<int>> taken;
  while (auto f = Words::try_submit(p, square, 3)) {
    taken.push_back(*f);
    ASSERT_LT(taken.size(), 100'000U) << "there is no bound";
  }
  EXPECT_GE(taken.size(), 2U);
  std::atomic<bool> through{false};
  std::jthread submitter{[&] {
    Words::submit(p, square, 4).wait();
    through = true;
  }};
  EXPECT_FALSE(taken.back().wait_for(20ms));
  EXPECT_FALSE(through);
  self.open_gate();
  EXPECT_TRUE(eventually([&] { return through.load(); }));
}

// Each stayed in the queue of a thread pool until its turn came: 105 MB for 100,000 beside a long task.
TROUPE_CONFORMANCE(Conformance, CancelledTasksLeaveTheQueue) {
  auto p = self.make({.workers = 1});
  const auto held = self.hold(p);
  const auto token = std::make_shared<int>();
  for (int i = 0; i < 5'000; ++i) {
    auto cancelled = Words::submit(
        p.with({.retries = 1, .retry_if = [token](const error&) { return false; }}), square, i);
    EXPECT_TRUE(cancelled.cancel());
  }
  EXPECT_LT(token.use_count(), 2'500) << "the options of each have one";
  self.open_gate();
}

int square_slowly(int x) {
  std::this_thread::sleep_for(1ms);  // so long that the submitters keep the queue full
  return x * x;
}

// All its places were free at once only when the queue was empty, which it never was.
TROUPE_CONFORMANCE(Conformance, AMapGetsInBesideSubmittersOfSingleTasks) {
  auto p = self.make({.workers = 1, .max_queued = 8});
  std::atomic<bool> done{false};
  const auto submit = [&] {
    while (!done) {
      static_cast<void>(Words::submit(p, square_slowly, 1));
    }
  };
  std::jthread one{submit};
  std::jthread other{submit};
  std::jthread mapper{[&] {
    EXPECT_EQ(Words::whole(p, square_slowly, std::views::iota(0, 8), {.chunk = 8}).size(), 8U);
    done = true;
  }};
  EXPECT_TRUE(eventually([&] { return done.load(); }));
  done = true;
}

/// Pulled how often?
auto counted(std::atomic<int>& pulled) {
  return std::views::iota(0) | std::views::transform([&pulled](int i) {
           pulled = std::max(pulled.load(), i + 1);
           return i;
         });
}

TROUPE_CONFORMANCE(Conformance, AsManyItemsAsTheWindowArePulledWhileNothingIsTaken) {
  auto p = self.make();
  std::atomic<int> pulled{0};
  auto input = counted(pulled);
  auto results = Words::lazy(p, square, input, {.chunk = 1, .window = 7});
  auto it = results.begin();
  EXPECT_EQ(pulled, 7);
  EXPECT_EQ(*it, 0);
  EXPECT_EQ(pulled, 7) << "looking at a result takes nothing";
  ++it;
  EXPECT_EQ(*it, 1);
  EXPECT_LE(pulled, 8);
}

TROUPE_CONFORMANCE(Conformance, AnInputMayBeEndless) {
  auto p = self.make();
  std::atomic<int> pulled{0};
  auto input = counted(pulled);
  int next = 0;
  for (const int y : Words::lazy(p, square, input, {.window = 50})) {
    EXPECT_EQ(y, square(next));
    if (++next == 500) {
      break;
    }
  }
  EXPECT_LE(pulled, 560);
}

int at_once(const std::string& in, const std::string& out) {
  mark(in);
  const auto entered = marks(in);  // first: what leaves meanwhile makes the difference smaller
  const auto left = marks(out);
  const int busy = static_cast<int>(entered) - static_cast<int>(left);
  mark(out);
  return busy;
}

TROUPE_CONFORMANCE(Conformance, NeverMoreTasksAtOnceThanWorkers) {
  auto p = self.make({.workers = 3});
  std::vector<future<int>> futures;
  for (int i = 0; i < 15 * 3; ++i) {
    futures.push_back(Words::submit(p, at_once, self.file("in"), self.file("out")));
  }
  for (const auto& f : futures) {
    EXPECT_LE(f.get(), 3);
  }
  EXPECT_EQ(p.workers().size(), 3U);
}

TROUPE_CONFORMANCE(Conformance, AllWorkersWorkAtOnce) {
  auto p = self.make({.workers = 3});
  const auto meet = [](const std::string& here) {
    mark(here);
    return eventually([&] { return marks(here) >= 3; });
  };
  std::vector<future<bool>> futures;
  for (int i = 0; i < 3; ++i) {
    futures.push_back(Words::submit(p, meet, self.file("here")));
  }
  for (const auto& f : futures) {
    EXPECT_TRUE(f.get());
  }
}

// ---- beginning and end --------------------------------------------------------------------------

TROUPE_CONFORMANCE(Conformance, EveryWorkerIsInitializedBeforeItsFirstTask) {
  auto p = self.make({.workers = 3, .initializer_marks = self.file("initialized")});
  EXPECT_EQ(marks(self.file("initialized")), 3U);
  EXPECT_EQ(Words::submit(p, square, 3).get(), 9);
  EXPECT_EQ(marks(self.file("initialized")), 3U);
}

TROUPE_CONFORMANCE(Conformance, AnInitializerThatThrowsDoesSoInTheConstructor) {
  EXPECT_THROW(self.make({.initializer_marks = "throw"}), std::domain_error);
}

TROUPE_CONFORMANCE(Conformance, WorkersAreCheckedBeforeAnythingIsStarted) {
  EXPECT_THROW(self.make({.workers = 0}), std::invalid_argument);
  EXPECT_THROW(self.make({.workers = -1}), std::invalid_argument);
  EXPECT_THROW(self.make({.workers = 5000}), std::invalid_argument);
}

TROUPE_CONFORMANCE(Conformance, AfterTheEndSubmissionsThrowPoolClosed) {
  auto p = self.make();
  Words::close(p);
  EXPECT_THROW(Words::submit(p, square, 1), pool_closed);
  EXPECT_THROW(Words::try_submit(p, square, 1), pool_closed);
  EXPECT_THROW(Words::submit(p.with({.priority = 1}), square, 1), pool_closed);
  Words::end(p);
  EXPECT_THROW(Words::submit(p, square, 1), pool_closed);
}

TROUPE_CONFORMANCE(Conformance, WhatIsPendingWhenItIsDroppedEndsAsCancelled) {
  auto p = self.make({.workers = 1});
  const auto running = Words::submit(p, until_stopped, self.file("running"));
  ASSERT_TRUE(eventually([&] { return marks(self.file("running")) > 0; }));
  std::vector<future<int>> queued;
  for (int i = 0; i < 20; ++i) {
    queued.push_back(Words::submit(p, square, i));
  }
  Words::drop(p);
  for (const auto& f : queued) {
    EXPECT_THROW(f.get(), cancelled_error);
    EXPECT_TRUE(f.cancelled());
  }
  running.wait();  // asked to stop, or killed: it ends
  EXPECT_THROW(Words::submit(p, square, 1), pool_closed);
}

TROUPE_CONFORMANCE(Conformance, SubmissionsThatRaceWithTheEndAreRefusedOrDone) {
  for (int round = 0; round < 5; ++round) {
    auto p = self.make();
    std::atomic<int> refused{0};
    std::atomic<int> given{0};
    std::vector<std::vector<future<int>>> futures(3);
    std::vector<std::jthread> submitters;
    for (auto& mine : futures) {
      submitters.emplace_back([&] {
        try {
          for (int i = 0; i < 100'000; ++i) {
            mine.push_back(Words::submit(p, square, 3));
            ++given;
          }
        } catch (const pool_closed&) {
          ++refused;
        }
      });
    }
    EXPECT_TRUE(eventually([&] { return given > 20; }));
    Words::close(p);
    submitters.clear();
    Words::end(p);
    for (const auto& mine : futures) {
      for (const auto& f : mine) {
        ASSERT_TRUE(f.ready());
        try {
          EXPECT_EQ(f.get(), 9);
        } catch (const pool_closed&) {
          // It was on its way when the pool closed.
        }
      }
    }
  }
}

TROUPE_CONFORMANCE(Conformance, TheCountsAddUp) {
  auto p = self.make();
  for (int i = 0; i < 10; ++i) {
    Words::submit(p, square, i).wait();
  }
  Words::submit(p, fail, 0).wait();
  const auto held = self.hold(p);
  EXPECT_EQ(p.stats().running, 1U);
  self.open_gate();
  held.wait();
  Words::end(p);
  const pool_stats counts = p.stats();
  EXPECT_EQ(counts.submitted, 12U);
  EXPECT_EQ(counts.succeeded, 11U);
  EXPECT_EQ(counts.failed, 1U);
  EXPECT_EQ(counts.cancelled, 0U);
  EXPECT_EQ(counts.queued, 0U);
  EXPECT_EQ(counts.running, 0U);
}

TROUPE_CONFORMANCE(Conformance, TasksKnowTheirNumbers) {
  auto p = self.make();
  const auto [id, attempt] =
      Words::submit(p, [] { return std::pair{this_task::id(), this_task::attempt()}; }).get();
  EXPECT_GT(id, 0U);
  EXPECT_EQ(attempt, 1U);
  EXPECT_EQ(this_task::id(), 0U);
  EXPECT_EQ(this_task::attempt(), 0U);
  EXPECT_FALSE(this_task::stop_token().stop_possible());
}

}  // namespace
}  // namespace troupe::test
