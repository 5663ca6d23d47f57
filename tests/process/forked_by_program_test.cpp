// SPDX-License-Identifier: BSD-3-Clause
// The program forks by itself: in its child every object of the parent lets go without touching
// anything, and every call is refused. The parent does not notice.
#include "troupe/executor.hpp"
#include "troupe/listener.hpp"
#include "troupe/process.hpp"
#include "troupe/progress_bar.hpp"
#include "troupe/system.hpp"
#include "troupe/thread_pool.hpp"
#include "troupe/wait.hpp"

#include "pool_fixture.hpp"
#include "support/forked.hpp"
#include "support/program.hpp"

#include <signal.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

struct ForkedByProgram : every_start_method {
  ForkedByProgram() {
    pool p{options(1)};
    p.apply(square, 1);  // what the first use sets up stays
  }
};
TROUPE_FOR_EVERY_START_METHOD(ForkedByProgram);

/// Which of the operations are not refused with wrong_state, by their place in the list.
template <class... Operations>
int accepted(Operations... operations) {
  int place = 0;
  int found = 0;
  const auto try_one = [&](auto& operation) {
    ++place;
    try {
      operation();
    } catch (const error& refused) {
      if (refused.code() == errc::wrong_state) {
        return;
      }
    }
    found = found == 0 ? place : found;
  };
  (try_one(operations), ...);
  return found;
}

template <class T>
void drop(T&& /*value*/) {}

TEST_P(ForkedByProgram, EveryCallThrowsWrongState) {
  pool p{options(1)};
  thread_pool threads{{.workers = 1}};
  process_pool_executor executor{options(1)};
  const std::string gate = file("gate");
  process_options how;
  how.start = GetParam();
  process running{how, [](const std::string& at) { wait_at(at + " child", at); }, gate};
  running.start();
  listener door{file("door")};
  future<int> open = p.apply_async(wait_at, gate + " task", gate);
  future<int> of_threads = threads.apply_async(wait_at, gate + " thread", gate);
  ASSERT_TRUE(eventually([&] { return marks(gate + " task") > 0; }));
  forked child{[&] {
    const std::vector<int> items{1, 2};
    if (const int place =
            accepted([&] { drop(p.apply_async(square, 1)); }, [&] { drop(p.map(square, items)); },
                     [&] { p.close(); }, [&] { p.terminate(); }, [&] { p.join(); },
                     [&] { p.resize(2); }, [&] { drop(p.stats()); }, [&] { drop(p.workers()); },
                     [&] { drop(p.with({.retries = 1}).apply_async(square, 1)); },
                     [&] { drop(p.map_async(square, items)); })) {
      return place;
    }
    if (const int place = accepted(
            [&] { drop(threads.apply_async(square, 1)); },
            [&] { drop(threads.map(square, items)); }, [&] { threads.close(); },
            [&] { threads.terminate(); }, [&] { threads.join(); }, [&] { threads.resize(2); },
            [&] { drop(threads.stats()); }, [&] { drop(threads.workers()); })) {
      return 20 + place;
    }
    if (const int place =
            accepted([&] { drop(executor.submit(square, 1)); }, [&] { drop(executor.shutdown()); },
                     [&] { executor.terminate_workers(); })) {
      return 40 + place;
    }
    for (future<int>* const one : {&open, &of_threads}) {
      if (const int place =
              accepted([&] { one->get(); }, [&] { one->wait(); }, [&] { drop(one->get_for(1h)); },
                       [&] { one->cancel(); }, [&] { drop(one->running()); },
                       [&] { drop(one->counts()); }, [&] { drop(one->exception()); },
                       [&] { one->on_result([](int) {}); }, [&] { drop(wait(std::vector{*one})); },
                       [&] { drop(one->then([](int i) { return i; })); })) {
        return 60 + place;
      }
    }
    if (const int place =
            accepted([&] { drop(pool{}); }, [&] { process{[] {}}.start(); },
                     [&] { program_system().stop_on_signals(); }, [&] { running.join(); },
                     [&] { drop(running.pid()); }, [&] { drop(running.exit_status()); },
                     [&] { running.terminate(); }, [&] { drop(door.accept_for(1h)); })) {
      return 80 + place;
    }
    return 0;
  }};
  EXPECT_EQ(child.wait(), 0) << "the place of the operation that was not refused";
  mark(gate);
  EXPECT_EQ(open.get(), 1);
  EXPECT_EQ(of_threads.get(), 1);
  running.join();
  EXPECT_EQ(p.apply(square, 3), 9);
}

TEST_P(ForkedByProgram, WhatIsDroppedThereIsNotTouched) {
  const std::string gate = file("gate");
  auto p = std::make_optional<pool>(options(2));
  auto threads = std::make_optional<thread_pool>(thread_pool_options{.workers = 1});
  auto executor = std::make_optional<process_pool_executor>(options(1));
  auto of_threads = std::make_optional<thread_pool_executor>(thread_pool_options{.workers = 1});
  auto door = std::make_optional<listener>(file("door"));
  auto large = std::make_optional(p->apply_async(+[] { return std::string(1'000'000, 'x'); }));
  large->wait();
  auto open = std::make_optional(p->apply_async(wait_at, gate + " task", gate));
  auto list = std::make_optional(threads->map_async(square, std::vector{1, 2, 3}));
  auto range = std::make_optional(p->imap(square, std::vector{1, 2, 3}));
  auto ended = std::make_optional(as_completed(std::vector{*open}));
  process_options how;
  how.start = GetParam();
  auto running = std::make_optional<process>(
      how, [](const std::string& at) { wait_at(at + " child", at); }, gate);
  running->start();
  ASSERT_TRUE(eventually([&] { return marks(gate + " task") > 0; }));
  const auto before = pids_of(*p);
  forked child{[&] {
    running.reset();
    ended.reset();
    range.reset();
    list.reset();
    open.reset();
    large.reset();
    door.reset();
    of_threads.reset();
    executor.reset();
    threads.reset();
    p.reset();
    return 0;
  }};
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(pids_of(*p), before);
  EXPECT_FALSE(open->ready());
  EXPECT_TRUE(running->is_alive());
  EXPECT_EQ(large->get().size(), 1'000'000U);
  EXPECT_EQ(p->apply(square, 3), 9);
  EXPECT_FALSE(door->accept_for(10ms).has_value());
  mark(gate);
  EXPECT_EQ(open->get(), 1);
  EXPECT_EQ(list->get(), (std::vector{1, 4, 9}));
  running->join();
  auto death = p->apply_async(+[] { ::raise(SIGKILL); });
  EXPECT_THROW(death.get(), worker_lost);
  EXPECT_EQ(executor->submit(square, 4).get(), 16);
  EXPECT_EQ(of_threads->submit(square, 4).get(), 16);
}

TEST_P(ForkedByProgram, ASignalToTheChildIsNoneToTheParent) {
  program_system().stop_on_signals();
  take_baseline();
  pool p{options(1)};
  {
    forked child{&sleep_until_killed};
    child.signal(SIGTERM);
    EXPECT_EQ(child.wait(), 1000 + SIGTERM);
  }
  EXPECT_EQ(program_system().stop_signal(), 0);
  EXPECT_EQ(p.apply(square, 3), 9);
}

}  // namespace
}  // namespace troupe::test
