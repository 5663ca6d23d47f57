// SPDX-License-Identifier: BSD-3-Clause
// What would happen if the clock were set by ten years: nothing, because nothing here waits for
// a time of day. A test must not set the clock. Instead the kernel kills a process that asks it to
// wait by the clock that can be set, so each wait below shows that it does not.
#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/connection.hpp"
#include "troupe/event.hpp"
#include "troupe/listener.hpp"
#include "troupe/mutex.hpp"
#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/this_task.hpp"
#include "troupe/thread_pool.hpp"
#include "troupe/wait.hpp"

#include "pool_fixture.hpp"
#include "support/forked.hpp"
#include "thread_fixture.hpp"

#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <semaphore.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <array>
#include <cstddef>
#include <ctime>
#include <mutex>
#include <thread>

namespace troupe::test {
namespace {

constexpr std::uint32_t argument(int number, bool high = false) {
  return static_cast<std::uint32_t>(offsetof(seccomp_data, args)) +
         static_cast<std::uint32_t>(number) * 8 + (high ? 4 : 0);
}

constexpr sock_filter load(std::uint32_t offset) {
  return {BPF_LD | BPF_W | BPF_ABS, 0, 0, offset};
}
constexpr sock_filter is(std::uint32_t value, std::uint8_t if_so, std::uint8_t if_not) {
  return {BPF_JMP | BPF_JEQ | BPF_K, if_so, if_not, value};
}
constexpr sock_filter has(std::uint32_t bits, std::uint8_t if_so, std::uint8_t if_not) {
  return {BPF_JMP | BPF_JSET | BPF_K, if_so, if_not, bits};
}
constexpr sock_filter leave(std::uint32_t how) {
  return {BPF_RET | BPF_K, 0, 0, how};
}

/// From now on waiting for a time of day ends this process, whichever thread does it, and those
/// that it forks. The numbers are how many lines to skip.
void forbid_wall_clock_waits() {
  std::array filter{
      load(offsetof(seccomp_data, nr)),
      is(SYS_futex, 0, 6),               // with that flag and a timeout
      load(argument(1)),                 //
      has(FUTEX_CLOCK_REALTIME, 0, 13),  //
      load(argument(3)),                 //
      is(0, 0, 12),                      //
      load(argument(3, true)),           //
      is(0, 9, 10),                      //
      is(SYS_clock_nanosleep, 0, 4),     // of that clock, until a time
      load(argument(0)),                 //
      is(CLOCK_REALTIME, 0, 6),          //
      load(argument(1)),                 //
      has(TIMER_ABSTIME, 5, 4),          //
      is(SYS_timerfd_create, 1, 0),      // timers of that clock
      is(SYS_timer_create, 0, 2),        //
      load(argument(0)),                 //
      is(CLOCK_REALTIME, 1, 0),          //
      leave(SECCOMP_RET_ALLOW),
      leave(SECCOMP_RET_KILL_PROCESS),
  };
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) {
    throw std::system_error{errno, std::generic_category(), "seccomp"};
  }
}

struct WallClock : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(WallClock);

struct WallClockOfObjects : pool_test {};

TEST_F(WallClockOfObjects, AWaitForATimeOfDayWouldBeSeen) {
  forked program{[] {
    forbid_wall_clock_waits();
    sem_t never{};
    ::sem_init(&never, 0, 0);
    timespec when{};
    ::clock_gettime(CLOCK_REALTIME, &when);
    ++when.tv_sec;
    return ::sem_timedwait(&never, &when) == 0 ? 1 : 2;
  }};
  EXPECT_EQ(program.wait(), 1000 + SIGSYS);
}

TEST_F(WallClockOfObjects, NoTimedWaitOfASharedObjectDependsOnIt) {
  mutex locked;
  recursive_mutex locked_often;
  semaphore permits{0};
  event set;
  condition changed;
  barrier two{2};
  queue<int> full{1};
  full.put(1);
  queue<int> empty;
  auto [here, there] = pipe();
  const std::scoped_lock held{locked, locked_often};
  forked program{[&] {
    listener it_is_alone{"@troupe-wall-clock-" + std::to_string(::getpid())};
    forbid_wall_clock_waits();
    mutex own;
    std::unique_lock owned{own};
    const bool timed_out = !locked.try_lock_for(2ms) && !locked_often.try_lock_for(2ms) &&
                           !permits.try_acquire_for(2ms) && !set.wait_for(2ms) &&
                           changed.wait_for(owned, 2ms) == std::cv_status::timeout &&
                           !full.put_for(2, 2ms) && !empty.get_for(2ms) && !full.join_for(2ms) &&
                           !here.poll(2ms) && !it_is_alone.accept_for(2ms);
    try {
      two.arrive_and_wait_for(2ms);
      return 2;
    } catch (const error&) {
      return timed_out ? 0 : 1;
    }
  }};
  EXPECT_EQ(program.wait(), 0);
}

TEST_F(WallClockOfObjects, NorDoThoseOfThreadPools) {
  forbid_wall_clock_waits();
  thread_pool_options with;
  with.min_workers = 1;
  with.max_workers = 2;
  with.idle_timeout = 5ms;
  thread_pool pool{with};
  const auto until_stopped = [] {
    const std::stop_token stop = this_task::stop_token();
    static_cast<void>(eventually([&] { return stop.stop_requested(); }));
  };
  auto late = pool.with({.timeout = 5ms, .grace = 60s}).apply_async(until_stopped);
  EXPECT_FALSE(late.wait_for(1ms));
  EXPECT_THROW(late.get(), timeout_error);
  EXPECT_EQ(pool.with({.deadline = 60s}).apply_async([] { return 2; }).get(), 2);
  int attempts = 0;
  EXPECT_EQ(pool.with({.retries = 1, .retry_if = [](const error&) { return true; }, .backoff = 2ms})
                .apply_async(
                    [&] { return ++attempts == 2 ? attempts : throw std::runtime_error{"again"}; })
                .get(),
            2);
  EXPECT_TRUE(eventually([&] { return pool.stats().workers == 1; })) << "idle ones go";
}

TEST_P(WallClock, NoPoolDependsOnIt) {
  forbid_wall_clock_waits();
  pool_options with = options();
  with.initializer = call(forbid_wall_clock_waits);
  with.grace = 20ms;
  with.max_worker_age = 10ms;
  pool p{with};
  auto late = p.with({.timeout = 5ms}).apply_async([] {
    for (;;) {
      ::pause();
    }
  });
  EXPECT_FALSE(late.wait_for(1ms));
  EXPECT_THROW(late.get(), timeout_error);
  const std::string tries = file("tries");
  EXPECT_EQ(p.with({.retries = 2, .backoff = 2ms})
                .apply_async(
                    [](const std::string& path) {
                      mark(path);
                      if (marks(path) < 3) {
                        ::raise(SIGKILL);
                      }
                      return marks(path);
                    },
                    tries)
                .get(),
            3U);
  std::vector<future<int>> all;
  for (int i = 0; i < 20; ++i) {
    all.push_back(p.with({.deadline = 60s}).apply_async(square, i));
  }
  EXPECT_TRUE(troupe::wait(all, 60s).pending.empty());
  for (const worker_info& worker : p.workers()) {
    EXPECT_GT(worker.pid, 0);
  }
  EXPECT_TRUE(eventually([&] {
    p.apply(square, 2);
    return p.stats().recycled > 0;
  })) << "workers grow old";
}

TEST_P(WallClock, NoProcessDependsOnIt) {
  forbid_wall_clock_waits();
  event go;
  process waits{{.start = GetParam()},
                [](const event& gate) {
                  forbid_wall_clock_waits();
                  while (!gate.wait_for(1ms)) {
                  }
                },
                go};
  waits.start();
  EXPECT_FALSE(waits.join_for(2ms));
  go.set();
  waits.join();
  EXPECT_EQ(waits.exit_status(), exit_status{exited{0}});
}

}  // namespace
}  // namespace troupe::test
