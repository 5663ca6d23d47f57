// SPDX-License-Identifier: BSD-3-Clause
// Tasks that end or damage their worker: exactly that task is lost, and the caller learns how.
#include "os/failpoint.hpp"
#include "pool_fixture.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <string>
#include <variant>
#include <vector>

namespace troupe::test {
namespace {

struct PoolHostile : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(PoolHostile);

void no_core() {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
}

// volatile and the use after the call keep the frames.
int deeper(int n) {  // NOLINT(misc-no-recursion): the point of it
  if (n < 0) {
    return n;
  }
  volatile char
      frame[4096];  // NOLINT(modernize-avoid-c-arrays): std::array has no volatile members
  frame[n % 4096] = static_cast<char>(n);
  return deeper((n + 1) & 0x7fffffff) + frame[n % 4096];
}

void by_signal(int number) {
  no_core();
  ::signal(number, SIG_DFL);
  ::raise(number);
}
void by_exit(int code) {
  std::exit(code);
}
void by__exit(int code) {
  ::_exit(code);
}
void by_quick_exit(int code) {
  std::quick_exit(code);
}
void by_abort(int /*unused*/) {
  no_core();
  std::abort();
}
void by_terminate(int /*unused*/) {
  no_core();
  ::close(STDERR_FILENO);  // its message is no part of the test's output
  std::terminate();
}
void by_noexcept(int n) {
  no_core();
  ::close(STDERR_FILENO);
  const auto thrower = [](int x) {
    if (x == 0) {
      throw x;
    }
  };
  [&](int x) noexcept { thrower(x); }(n);
}
// The sanitizers have handlers of their own for SIGSEGV, which end the process otherwise.
void by_stack_overflow(int n) {
  no_core();
  ::signal(SIGSEGV, SIG_DFL);
  deeper(n);
}
void by_null(int n) {
  no_core();
  ::signal(SIGSEGV, SIG_DFL);
  // A member of an object at null: UndefinedBehaviorSanitizer would catch null itself.
  volatile std::uintptr_t address = 16;
  *reinterpret_cast<volatile int*>(address) = n;  // NOLINT(performance-no-int-to-ptr)
}

/// The task ends its worker in the way said, while others run: they all succeed.
void expect_lost(pool& p, void (*task)(int), int argument, const exit_status& how) {
  SCOPED_TRACE(to_string(how));
  const std::uint64_t deaths = p.stats().deaths;
  const auto before = pids_of(p);
  std::vector<future<int>> bystanders;
  for (int i = 0; i < 20; ++i) {
    bystanders.push_back(p.apply_async(square, i));
  }
  auto victim = p.apply_async(task, argument);
  for (int i = 20; i < 40; ++i) {
    bystanders.push_back(p.apply_async(square, i));
  }
  try {
    victim.get();
    ADD_FAILURE() << "it survived";
  } catch (const worker_lost& lost) {
    EXPECT_EQ(before.count(lost.pid()), 1U) << "pid " << lost.pid() << " was no worker";
    ASSERT_TRUE(lost.exit().has_value());
    EXPECT_EQ(*lost.exit(), how) << to_string(*lost.exit());
    if (const auto* signal = std::get_if<killed_by>(&how)) {
      EXPECT_EQ(lost.signal(), signal->signal);
    } else {
      EXPECT_FALSE(lost.signal().has_value());
    }
    EXPECT_EQ(lost.ran(), task_ran::maybe);
    EXPECT_EQ(lost.attempt(), 1U);
    EXPECT_GT(lost.task(), 0U);
    EXPECT_NE(std::string{lost.what()}.find(to_string(how)), std::string::npos) << lost.what();
    EXPECT_EQ(pids_of(p).count(lost.pid()), 0U);
  }
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(bystanders[static_cast<std::size_t>(i)].get(), square(i));
  }
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 2; }));
  EXPECT_EQ(p.stats().deaths, deaths + 1);
}

TEST_P(PoolHostile, EveryKindOfExitIsToldAsItWas) {
  pool p{options()};
  expect_lost(p, by__exit, 0, exited{0});
  expect_lost(p, by__exit, 99, exited{99});
  expect_lost(p, by_quick_exit, 5, exited{5});
  expect_lost(p, by_exit, 0, exited{0});
  expect_lost(p, by_exit, 3, exited{3});
}

TEST_P(PoolHostile, EveryKindOfCrashIsToldAsItWas) {
  pool p{options()};
  expect_lost(p, by_abort, 0, killed_by{SIGABRT});
  expect_lost(p, by_terminate, 0, killed_by{SIGABRT});
  expect_lost(p, by_noexcept, 0, killed_by{SIGABRT});
  expect_lost(p, by_null, 0, killed_by{SIGSEGV});
  expect_lost(p, by_stack_overflow, 0, killed_by{SIGSEGV});
}

TEST_P(PoolHostile, EveryFatalSignalIsToldAsItWas) {
  pool p{options()};
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGKILL, SIGTERM,
                           SIGQUIT, SIGHUP, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2, SIGXCPU, SIGINT}) {
    expect_lost(p, by_signal, number, killed_by{number});
  }
}

TEST_P(PoolHostile, DeathsOneAfterTheOtherOnOneWorker) {
  pool_options one = options(1);
  pool p{one};
  for (int i = 0; i < 20; ++i) {
    EXPECT_THROW(p.apply(by__exit, i), worker_lost);
    EXPECT_EQ(p.apply(square, i), square(i));
  }
  EXPECT_EQ(p.stats().deaths, 20U);
}

TEST_P(PoolHostile, TooManyDeathsBreakThePoolAndEveryFutureEnds) {
  pool_options strict = options();
  strict.restart = {.intensity = 2, .period = 1h};
  pool p{strict};
  std::vector<future<void>> all;
  int lost = 0;
  int broken = 0;
  for (int i = 0; i < 50; ++i) {
    try {
      all.push_back(p.apply_async(by__exit, 1));
    } catch (const pool_broken&) {
      ++broken;  // it may break before the last one is submitted
    }
  }
  for (auto& f : all) {
    try {
      f.get();
    } catch (const worker_lost&) {
      ++lost;
    } catch (const pool_broken&) {
      ++broken;
    }
  }
  EXPECT_EQ(lost + broken, 50);
  EXPECT_GE(lost, 3);
  // Not many more: replacements of those whose ends were told late may have died, too.
  EXPECT_LT(lost, 10);
  EXPECT_TRUE(fails_with(errc::pool_broken, [&] { return p.apply(square, 1); }));
  p.close();
  p.join();
  EXPECT_TRUE(p.workers().empty());
}

// ---- the worker's descriptors -------------------------------------------------------------------

int close_all(int /*unused*/) {
  for (int i = 3; i < 1024; ++i) {
    ::close(i);
  }
  return 1;
}
int close_all_and_the_standard_ones(int /*unused*/) {
  for (int i = 0; i < 1024; ++i) {
    ::close(i);
  }
  return 1;
}
int write_garbage(int size) {
  const std::string garbage(static_cast<std::size_t>(size), '!' + 1);
  for (int i = 3; i < 1024; ++i) {
    const int flags = ::fcntl(i, F_GETFL);
    // The table of fail-points is the tests' own and trusts them.
    if (flags >= 0 && i != detail::failpoint::table_descriptor()) {
      ::fcntl(i, F_SETFL, flags | O_NONBLOCK);
      static_cast<void>(::write(i, garbage.data(), garbage.size()));
    }
  }
  return 1;
}
int exhaust_descriptors(int /*unused*/) {
  while (::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) {
  }
  return 1;
}

/// The task damages its worker; it may have an outcome or be lost, all others succeed. If it makes
/// the pool kill its worker, one that has an outcome may cost the task that the worker began next.
void expect_contained(pool& p, int (*task)(int), int argument, bool makes_it_kill = false) {
  std::vector<future<int>> bystanders;
  std::vector<future<int>> culprits;
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 10; ++i) {
      bystanders.push_back(p.apply_async(square, i));
    }
    culprits.push_back(p.apply_async(task, argument));
  }
  int may_cost = 0;
  for (auto& f : culprits) {
    try {
      EXPECT_EQ(f.get(), 1);
      may_cost += makes_it_kill ? 1 : 0;
    } catch (const worker_lost&) {
    }
  }
  for (std::size_t i = 0; i < bystanders.size(); ++i) {
    try {
      EXPECT_EQ(bystanders[i].get(), square(static_cast<int>(i % 10)));
    } catch (const std::exception& thrown) {
      EXPECT_TRUE(dynamic_cast<const worker_lost*>(&thrown) != nullptr && --may_cost >= 0)
          << "bystander " << i << " failed: " << thrown.what();
    }
  }
  EXPECT_TRUE(eventually([&] { return p.workers().size() == 2; }));
  EXPECT_EQ(p.map(square, std::views::iota(0, 100)).size(), 100U);
}

TEST_P(PoolHostile, AWorkerThatClosesItsDescriptorsHurtsNoOther) {
  pool p{options()};
  expect_contained(p, close_all, 0);
  expect_contained(p, close_all_and_the_standard_ones, 0);
}

TEST_P(PoolHostile, AWorkerThatWritesGarbageToItsDescriptorsHurtsNoOther) {
  pool p{options()};
  for (const int size : {1, 16, 100, 4096}) {
    SCOPED_TRACE(size);
    expect_contained(p, write_garbage, size, true);
  }
}

TEST_P(PoolHostile, AWorkerWithoutDescriptorsLeftHurtsNoOther) {
  pool p{options()};
  expect_contained(p, exhaust_descriptors, 0);
}

std::vector<int> open_descriptors() {
  std::vector<int> found;
  for (int i = 0; i < 1024; ++i) {
    if (::fcntl(i, F_GETFD) >= 0) {
      found.push_back(i);
    }
  }
  return found;
}

TEST_P(PoolHostile, AWorkerGetsNoDescriptorOfTheProgram) {
  // A descriptor that carelessly lacks close-on-exec.
  const int mine = ::open("/dev/null", O_RDONLY);  // NOLINT(android-cloexec-open): the point of it
  ASSERT_GE(mine, 0);
  const int high = ::fcntl(mine, F_DUPFD, 700);
  ASSERT_GE(high, 700);
  {
    pool p{options(1)};
    for (const int open : p.apply(open_descriptors)) {
      EXPECT_NE(open, high);
    }
  }
  ::close(mine);
  ::close(high);
}

// ---- signals and groups -------------------------------------------------------------------------

TEST_P(PoolHostile, WorkersIgnoreSigintAndHaveACleanMask) {
  pool p{options(1)};
  const auto before = pids_of(p);
  EXPECT_EQ(p.apply([] {
    ::raise(SIGINT);
    return 1;
  }),
            1);
  ::kill(static_cast<pid_t>(*before.begin()), SIGINT);
  EXPECT_EQ(p.apply(square, 3), 9);
  EXPECT_EQ(pids_of(p), before);
  EXPECT_EQ(p.apply([] {
    sigset_t mask;
    ::sigprocmask(SIG_BLOCK, nullptr, &mask);
    int blocked = 0;
    for (int i = 1; i < 32; ++i) {
      blocked += ::sigismember(&mask, i);
    }
    return blocked;
  }),
            0);
  EXPECT_EQ(p.apply([] { return ::getpgrp() == ::getpid(); }), true);
}

TEST_P(PoolHostile, TheProgramsBlockedSignalsStayBlockedHereAndAreNotThere) {
  sigset_t usr1;
  sigset_t old;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &usr1, &old);
  {
    pool p{options(1)};
    EXPECT_FALSE(p.apply([] {
      sigset_t mask;
      ::sigprocmask(SIG_BLOCK, nullptr, &mask);
      return ::sigismember(&mask, SIGUSR1) == 1;
    }));
    sigset_t now;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &now);
    EXPECT_EQ(::sigismember(&now, SIGUSR1), 1);
  }
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

TEST_P(PoolHostile, AnIdleWorkerThatIsKilledIsReplaced) {
  pool p{options()};
  const auto before = p.workers();
  for (const worker_info& worker : before) {
    ::kill(static_cast<pid_t>(worker.pid), SIGKILL);
  }
  EXPECT_TRUE(eventually([&] {
    const auto now = p.workers();
    return now.size() == 2 && now[0].id > before[1].id && now[1].id > before[1].id;
  }));
  EXPECT_EQ(p.map(square, std::vector{1, 2, 3}), (std::vector{1, 4, 9}));
}

}  // namespace
}  // namespace troupe::test
