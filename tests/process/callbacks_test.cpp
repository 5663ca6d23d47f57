// SPDX-License-Identifier: BSD-3-Clause
// Functions of the user that the library calls: what they may do, who waits for them, and where the
// objects in them are destroyed.
#include "troupe/log.hpp"
#include "troupe/system.hpp"
#include "troupe/this_task.hpp"
#include "troupe/thread_pool.hpp"
#include "troupe/wait.hpp"

#include "fault_fixture.hpp"
#include "support/program.hpp"
#include "thread_fixture.hpp"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <iterator>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

struct Callbacks : pool_test {
  Callbacks() { static_cast<void>(handover_of_this_thread()); }
  ~Callbacks() override { set_log_hook({}); }

  static pool_options workers(int count) {
    pool_options made;
    made.workers = count;
    return made;
  }
  /// What a thread has for its waits is made with the first one.
  static int handover_of_this_thread() {
    pool p{workers(1)};
    return p.apply(square, 1);
  }
};

/// Whether the kernel has put a thread of this process to sleep.
bool sleeps(pid_t thread) {
  std::ifstream in{"/proc/self/task/" + std::to_string(thread) + "/stat"};
  const std::string text{std::istreambuf_iterator<char>{in}, {}};
  const auto name_ends = text.rfind(')');
  return name_ends != std::string::npos && text.substr(name_ends + 2, 1) == "S";
}

/// Returns when the thread waits: what it waits for is the caller.
void let_it_wait(pid_t thread) {
  while (!sleeps(thread)) {
    std::this_thread::yield();
  }
}

// ---- get waits for them -------------------------------------------------------------------------

template <class Pool>
struct CallbacksOf : Callbacks {};
using both_pools = testing::Types<pool, thread_pool>;
struct names_of_pools {
  template <class Pool>
  static std::string GetName(int /*index*/) {
    return std::is_same_v<Pool, pool> ? "processes" : "threads";
  }
};
TYPED_TEST_SUITE(CallbacksOf, both_pools, names_of_pools);

TYPED_TEST(CallbacksOf, GetAndWaitReturnAfterThoseThatWereAddedBefore) {
  TypeParam p{{.workers = 1}};
  const pid_t here = ::gettid();
  for (int i = 0; i < 50; ++i) {
    std::vector<int> seen;
    auto f = p.apply_async(square, i);
    f.on_result([&, here](int v) {
      let_it_wait(here);
      seen.push_back(v);
    });
    f.on_done([&](const auto&) { seen.push_back(-1); });
    if (i % 3 == 0) {
      f.get();
    } else if (i % 3 == 1) {
      f.wait();
    } else {
      EXPECT_EQ(f.exception(), nullptr);
    }
    ASSERT_EQ(seen, (std::vector{i * i, -1}));
  }
}

TYPED_TEST(CallbacksOf, TheListOfAMapIsThereWhenWaitReturns) {
  TypeParam p{{.workers = 2}};
  const pid_t here = ::gettid();
  std::vector<int> results;
  auto f = p.map_async(square, std::vector{1, 2, 3});
  f.on_result([&, here](const std::vector<int>& v) {
    let_it_wait(here);
    results = v;
  });
  f.wait();
  EXPECT_EQ(results, (std::vector{1, 4, 9}));
}

TYPED_TEST(CallbacksOf, NothingElseWaitsForThem) {
  TypeParam p{{.workers = 1}};
  std::latch release{1};
  auto f = p.apply_async(square, 3);
  f.on_result([&](int) { release.wait(); });
  EXPECT_EQ(f.get_for(eventually_deadline), 9);
  EXPECT_TRUE(f.wait_for(eventually_deadline));
  EXPECT_TRUE(f.ready());
  EXPECT_EQ(troupe::wait(std::vector{f}).done.size(), 1U);
  for (const auto& ended : as_completed(std::vector{f})) {
    EXPECT_TRUE(ended.ready());
  }
  EXPECT_EQ(p.apply_async(square, 4).get(), 16) << "a future without callbacks waits for none";
  release.count_down();
  EXPECT_EQ(f.get(), 9);
}

TYPED_TEST(CallbacksOf, InACallbackGetWaitsForNoCallback) {
  TypeParam p{{.workers = 1}};
  int got = 0;
  auto f = p.apply_async(square, 3);
  f.on_done([&](const future<int>& same) { got += same.get(); });
  f.on_done([&](const future<int>& same) { got += same.get(); });
  f.wait();
  EXPECT_EQ(got, 18);
}

TYPED_TEST(CallbacksOf, NothingWaitsForThoseOfProgress) {
  std::latch release{1};
  TypeParam p{{.workers = 1}};
  const std::string gate = this->file("gate");
  auto f = p.apply_async(
      +[](const std::string& path) {
        wait_at(path + " running", path);
        this_task::progress(10, 10);
        return 1;
      },
      gate);
  f.on_progress([&](const task_progress&) { release.wait(); });
  mark(gate);
  EXPECT_EQ(f.get(), 1);
  release.count_down();
}

TEST_F(Callbacks, ATaskOfAThreadPoolWaitsForNoCallback) {
  thread_pool p{{.workers = 2}};
  std::latch release{1};
  const int got = p.apply([&] {
    auto f = p.apply_async(square, 3);
    f.on_result([&](int) { release.wait(); });
    const int value = f.get();
    release.count_down();
    return value;
  });
  EXPECT_EQ(got, 9);
}

// ---- what they may do ---------------------------------------------------------------------------

int fails_first() {
  if (this_task::attempt() == 1) {
    throw std::runtime_error{"the first attempt"};
  }
  return 5;
}

const task_options retried{.retries = 2, .retry_if = [](const error&) { return true; }};

TYPED_TEST(CallbacksOf, MayWaitForATaskAboutWhichAPredicateIsAsked) {
  TypeParam p{{.workers = 2}};
  int got = 0;
  auto f = p.apply_async(square, 1);
  f.on_result([&](int) { got = p.with(retried).apply(fails_first); });
  f.wait();
  EXPECT_EQ(got, 5);
}

TYPED_TEST(CallbacksOf, MayCloseAndJoinTheirPoolWhileAPredicateIsToBeAsked) {
  TypeParam p{{.workers = 2}};
  std::atomic<bool> joined{false};
  const std::string gate = this->file("gate");
  auto first = p.apply_async(square, 1);
  future<int> second = p.with(retried).apply_async(
      +[](const std::string& path) {
        wait_at(path + " running", path);
        return fails_first();
      },
      gate);
  first.on_result([&](int) {
    p.close();
    mark(gate);
    p.join();
    joined = true;
  });
  first.wait();
  EXPECT_TRUE(joined);
  EXPECT_EQ(second.get(), 5);
}

TEST_F(Callbacks, OfProgressMayOwnTheLastHandleOfTheirPool) {
  auto p = std::make_shared<pool>(workers(1));
  const std::weak_ptr<pool> watched = p;
  auto f = p->apply_async(wait_at, file("running"), file("gate"));
  f.on_progress([p](const task_progress&) {});
  p.reset();
  mark(file("gate"));
  f.wait();
  EXPECT_TRUE(eventually([&] { return watched.expired(); }));
  pool another{workers(1)};
  EXPECT_EQ(another.apply(square, 3), 9);
}

TEST_F(Callbacks, APredicateMayOwnTheLastHandleOfItsPool) {
  // ThreadSanitizer keeps a worker's SIGTERM back while it waits: each end takes the grace time.
  const int rounds = sanitized ? 3 : 20;
  for (int i = 0; i < rounds; ++i) {
    auto p = std::make_shared<pool>(workers(1));
    const std::weak_ptr<pool> watched = p;
    const std::string gate = file(("gate" + std::to_string(i)).c_str());
    {
      const auto f = p->with({.retries = 1, .retry_if = [p](const error&) { return false; }})
                         .apply_async(wait_at, gate + " running", gate);
      static_cast<void>(f);
      p.reset();
    }
    mark(gate);
    ASSERT_TRUE(eventually([&] { return watched.expired(); }));
    pool another{workers(1)};
    ASSERT_EQ(another.apply(square, 3), 9);
  }
}

TEST_F(Callbacks, OfTheStopTokenMayCloseAndJoinPools) {
  program_system().stop_on_signals();
  take_baseline();
  pool p{workers(1)};
  std::atomic<bool> joined{false};
  auto f = p.apply_async(wait_at, file("running"), file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  {
    const std::stop_callback waits{program_system().stop_token(), [&] {
                                     p.close();
                                     mark(file("gate"));
                                     p.join();
                                     joined = true;
                                   }};
    ::kill(::getpid(), SIGTERM);
    EXPECT_TRUE(eventually([&] { return joined.load(); }));
  }
  EXPECT_EQ(f.get(), 1);
}

TEST_F(Callbacks, ALogHookMayAskThePoolThatReports) {
  pool_options how = workers(1);
  how.restart = {.intensity = 0};
  std::optional<pool> p{how};
  std::atomic<int> asked{0};
  set_log_hook([&](log_level, std::string_view) {
    static_cast<void>(p->workers());
    static_cast<void>(p->stats());
    ++asked;
  });
  auto f = p->apply_async(+[] { ::raise(SIGKILL); });
  EXPECT_THROW(f.get(), worker_lost);
  EXPECT_TRUE(eventually([&] { return asked > 0; })) << "the pool is broken, and says so";
  EXPECT_THROW(static_cast<void>(p->apply(square, 1)), pool_broken);
}

TEST_F(Callbacks, ThePoolsEndWaitsForTheLogHook) {
  pool_options how = workers(1);
  how.restart = {.intensity = 0};
  const pid_t here = ::gettid();
  std::vector<std::string> reports;
  set_log_hook([&, here](log_level, std::string_view text) {
    let_it_wait(here);
    reports.emplace_back(text);
  });
  {
    pool p{how};
    auto f = p.apply_async(+[] { ::raise(SIGKILL); });
    EXPECT_THROW(f.get(), worker_lost);
  }
  EXPECT_TRUE(std::ranges::any_of(
      reports, [](const std::string& each) { return each.find("is broken") != std::string::npos; }))
      << "of " << reports.size();
}

int of_a_nested_future_waits_for_another() {
  const auto own = this_task::pool();
  auto first = own.apply_async(square, 2);
  auto second = own.apply_async(square, 3);
  int got = 0;
  first.on_result([&](int v) { got = v + second.get(); });
  first.wait();
  return got;
}

TEST_F(Callbacks, OfANestedFutureMayWaitForAnother) {
  pool p{workers(2)};
  EXPECT_EQ(p.apply(of_a_nested_future_waits_for_another), 13);
}

// Issue 11, 13.
TEST_F(Callbacks, ThatWaitHaveRunWhatAFutureFollowsOnlyLater) {
  using form = std::function<int(const future<int>&)>;
  const std::vector<std::pair<std::string, form>> forms{
      {"get_for", [](const auto& f) { return f.get_for(eventually_deadline).value_or(-1); }},
      {"wait",
       [](const auto& f) {
         const auto [done, pending] = troupe::wait(std::vector{f}, eventually_deadline);
         return done.empty() ? -1 : done.front().get();
       }},
      {"when_all",
       [](const auto& f) {
         const auto both = when_all(std::vector{f, f}).get_for(eventually_deadline);
         return both ? both->front() : -1;
       }},
  };
  for (const auto& [name, wait_for_it] : forms) {
    thread_pool first{{.workers = 1}};
    thread_pool second{{.workers = 1}};
    thread_pool third{{.workers = 1}};
    thread_gate gate;
    std::atomic<pid_t> callbacks{0};
    const auto follows =
        second.apply_async([&] { gate.wait(); }).then([&] { return third.apply_async(square, 3); });
    // The only worker of the third pool waits for the callback, which waits for a task behind it.
    const auto waits = third.apply_async([&] {
      return first.apply_async(square, 1)
          .then([&](int) {
            callbacks = ::gettid();
            return wait_for_it(follows);
          })
          .get();
    });
    ASSERT_TRUE(eventually([&] { return callbacks != 0; }));
    let_it_wait(callbacks);
    gate.open();
    ASSERT_EQ(waits.get(), 9) << name;
  }
}

// ---- what a task printed ------------------------------------------------------------------------

int print_to(const std::string& path) {
  if (std::freopen(path.c_str(), "w", stdout) == nullptr) {
    throw std::runtime_error{"cannot print to " + path};
  }
  std::printf("printed");
  return 1;
}

TEST_F(Callbacks, WhatATaskPrintedIsThereWhenItsFutureIsReady) {
  pool p{workers(1)};
  failpoint::arm("worker.sent", failpoint::action::kill);  // before it can do anything more
  EXPECT_EQ(p.apply(print_to, file("output")), 1);
  std::ifstream in{file("output")};
  EXPECT_EQ((std::string{std::istreambuf_iterator<char>{in}, {}}), "printed");
  failpoint::reset();
}

}  // namespace
}  // namespace troupe::test
