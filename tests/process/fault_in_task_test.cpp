// SPDX-License-Identifier: BSD-3-Clause
// A task ends its worker in every way there is: exactly that task fails, and says how.
#include "fault_fixture.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <cstring>
#include <exception>
#include <memory>
#include <thread>

namespace troupe::test {
namespace {

struct FaultInTask : fault_test {
  /// Workers that were forked from the program itself leave their daemons to the init process.
  static bool can_find_daemons() { return GetParam() != start_method::fork; }

  /// Runs `function` among bystanders, and expects that its worker ends like this and is replaced.
  template <class F, class... Args>
  void expect_loss(const exit_status& how, F function, const Args&... args) {
    pool p{crew_of()};
    bystanders others{p, fresh_file(), fresh_file()};
    const auto victim = p.apply_async(function, args...);
    EXPECT_TRUE(is_lost(victim, how));
    others.expect_success();
    EXPECT_EQ(p.stats().deaths, 1U);
    EXPECT_EQ(p.stats().failed, 1U);
    expect_whole(p);
  }
};
TROUPE_FOR_EVERY_START_METHOD(FaultInTask);

// The sanitizers catch these signals to say more; here the kernel is to act.
void die_of(int number) {
  ::signal(number, SIG_DFL);
  ::raise(number);
}

void write_to_protected_page() {
  ::signal(SIGSEGV, SIG_DFL);
  void* page = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::memset(page, 1, 1);
}

void write_beyond_end_of_file() {
  ::signal(SIGBUS, SIG_DFL);
  const int file = ::memfd_create("short", MFD_CLOEXEC);
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  std::memset(page, 1, 1);
}

// A01
TEST_P(FaultInTask, KilledFromOutsideFailsOnlyWhatItRan) {
  pool p{crew_of()};
  const std::string pids = fresh_file();
  bystanders others{p, fresh_file(), fresh_file()};
  const auto victim = p.apply_async(report_and_stay, pids);
  ASSERT_TRUE(eventually([&] { return reported(pids).size() == 1; }));
  const int pid = reported(pids).front();
  ::kill(pid, SIGKILL);
  try {
    victim.get();
    FAIL() << "a value";
  } catch (const worker_lost& loss) {
    EXPECT_EQ(loss.pid(), pid);
    EXPECT_EQ(loss.signal(), SIGKILL);
    EXPECT_EQ(loss.attempt(), 1U);
    EXPECT_EQ(loss.stage(), "run");
    EXPECT_EQ(loss.ran(), task_ran::maybe);
    EXPECT_NE(std::string{loss.what()}.find(std::to_string(pid)), std::string::npos);
    EXPECT_NE(std::string{loss.what()}.find("SIGKILL"), std::string::npos);
  }
  others.expect_success();
  EXPECT_FALSE(pids_of(p).contains(pid));
  expect_whole(p);
}

// A02
TEST_P(FaultInTask, AFatalSignalIsNamed) {
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    SCOPED_TRACE(number);
    expect_loss(killed_by{number}, die_of, number);
  }
}

// A02
TEST_P(FaultInTask, ARealFaultOfMemoryIsItsSignal) {
  expect_loss(killed_by{SIGSEGV}, write_to_protected_page);
  expect_loss(killed_by{SIGBUS}, write_beyond_end_of_file);
}

void quiet() {
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  ::dup2(null, STDERR_FILENO);
  ::signal(SIGABRT, SIG_DFL);
}
void abort_now() {
  quiet();
  std::abort();
}
void throw_now() {
  throw std::runtime_error{"not allowed"};
}
void throw_nevertheless() noexcept {  // NOLINT(bugprone-exception-escape): what is tested
  throw_now();
}
void throw_from_noexcept() {
  quiet();
  throw_nevertheless();
}
void throw_in_a_thread() {
  quiet();
  std::thread{[] { throw std::runtime_error{"no handler catches it"}; }}.join();
}

// A03
TEST_P(FaultInTask, AbortAndTerminateAreSigabrt) {
  expect_loss(killed_by{SIGABRT}, abort_now);
  expect_loss(killed_by{SIGABRT}, throw_from_noexcept);
  expect_loss(killed_by{SIGABRT}, throw_in_a_thread);
}

void leave_at_once(int code) {
  ::_exit(code);
}
void leave_quickly(int code) {
  std::quick_exit(code);
}
void leave_in_order(int code) {
  std::exit(code);
}  // NOLINT(concurrency-mt-unsafe): what is tested

// A04
TEST_P(FaultInTask, AnExitIsALossEvenWithCodeZero) {
  expect_loss(exited{0}, leave_at_once, 0);
  expect_loss(exited{99}, leave_at_once, 99);
  expect_loss(exited{7}, leave_quickly, 7);
  expect_loss(exited{0}, leave_in_order, 0);
  expect_loss(exited{42}, leave_in_order, 42);
}

void refuse() {
  throw std::out_of_range{"too far"};
}
void throw_a_number() {
  throw 42;
}

// A05
TEST_P(FaultInTask, AnExceptionKeepsItsWorker) {
  pool p{crew_of()};
  const auto before = p.workers();
  bystanders others{p, fresh_file(), fresh_file()};
  try {
    p.apply(refuse);
    FAIL() << "no exception";
  } catch (const std::out_of_range& problem) {
    EXPECT_STREQ(problem.what(), "too far");
    const auto* remote = dynamic_cast<const remote_error_info*>(&problem);
    ASSERT_NE(remote, nullptr);
    EXPECT_EQ(remote->type_name(), "std::out_of_range");
    EXPECT_TRUE(pids_of(p).contains(remote->pid()));
  }
  EXPECT_THROW(p.apply(throw_a_number), remote_error);
  others.expect_success();
  EXPECT_EQ(p.workers(), before);
  EXPECT_EQ(p.stats().deaths, 0U);
  expect_whole(p);
}

// Not inlined and not a loop: each call needs its frame.
[[gnu::noinline]] int go_deeper(volatile char* above, int depth) {
  volatile char frame[4096];
  frame[0] = *above;
  return depth == 0 ? frame[0] : go_deeper(frame, depth - 1) + frame[0];
}
int overflow_the_stack() {
  ::signal(SIGSEGV, SIG_DFL);
  const rlimit small{1 << 20, 1 << 20};
  ::setrlimit(RLIMIT_STACK, &small);
  volatile char begin = 0;
  return go_deeper(&begin, 1 << 30);
}
int overflow_the_stack_of_a_thread() {
  int result = 0;
  std::thread{[&] { result = overflow_the_stack(); }}.join();
  return result;
}

// A07
TEST_P(FaultInTask, AStackOverflowIsSigsegv) {
  expect_loss(killed_by{SIGSEGV}, overflow_the_stack);
  expect_loss(killed_by{SIGSEGV}, overflow_the_stack_of_a_thread);
}

std::size_t allocate_beyond_the_limit() {
  rlimit old{};
  ::getrlimit(RLIMIT_AS, &old);
  const rlimit low{rlim_t{1} << 30, old.rlim_max};
  ::setrlimit(RLIMIT_AS, &low);
  struct restore {
    rlimit old;
    ~restore() { ::setrlimit(RLIMIT_AS, &old); }
  } const at_end{old};
  const std::vector<char> large(std::size_t{8} << 30);
  return large.size();
}

// A08
TEST_P(FaultInTask, OutOfMemoryIsAnExceptionAndKeepsItsWorker) {
  if (sanitized) {
    GTEST_SKIP() << "a sanitizer needs more addresses than any limit leaves";
  }
  pool p{crew_of()};
  const auto before = p.workers();
  EXPECT_THROW(p.apply(allocate_beyond_the_limit), std::bad_alloc);
  EXPECT_EQ(p.workers(), before);
  expect_whole(p);
}

int stop_itself() {
  ::raise(SIGSTOP);
  return 1;
}

// A10
TEST_P(FaultInTask, AStoppedWorkerIsKilledByTheTimeoutOfItsTask) {
  pool p{crew_of()};
  bystanders others{p, fresh_file(), fresh_file()};
  const auto victim = p.with({.timeout = 50ms, .grace = 10ms}).apply_async(stop_itself);
  EXPECT_EQ(outcome_of(victim), ended::timeout);
  others.expect_success();
  expect_whole(p);
}

// A10
TEST_P(FaultInTask, TerminateEndsStoppedWorkers) {
  pool p{crew_of()};
  std::vector<future<int>> stopped;
  for (int i = 0; i < crew; ++i) {
    stopped.push_back(p.apply_async(stop_itself));
  }
  ASSERT_TRUE(eventually([&] { return count_processes("troupe-w", 'T') == crew; }));
  p.terminate();
  p.join();
  for (const auto& one : stopped) {
    EXPECT_NE(outcome_of(one), ended::value);
  }
  EXPECT_EQ(count_processes("troupe-w"), 0);
}

int loop_for_ever(const std::string& begun) {
  ::signal(SIGTERM, SIG_IGN);
  mark(begun);
  std::atomic<int> rounds{0};
  for (;;) {
    rounds.fetch_add(1);
  }
}

// A11
TEST_P(FaultInTask, AnEndlessLoopThatIgnoresSigtermTimesOut) {
  pool p{crew_of()};
  bystanders others{p, fresh_file(), fresh_file()};
  const auto victim =
      p.with({.timeout = 100ms, .grace = 10ms}).apply_async(loop_for_ever, fresh_file());
  EXPECT_EQ(outcome_of(victim), ended::timeout);
  others.expect_success();
  expect_whole(p);
}

// A11
TEST_P(FaultInTask, TerminateEndsALoopThatIgnoresSigterm) {
  pool p{crew_of()};
  const std::string begun = fresh_file();
  const auto victim = p.apply_async(loop_for_ever, begun);
  ASSERT_TRUE(eventually([&] { return marks(begun) == 1; }));
  p.terminate();
  p.join();
  EXPECT_EQ(outcome_of(victim), ended::cancelled);
}

int crash_later(const std::string& gate) {
  std::thread{[gate] {
    static_cast<void>(eventually([&] { return marks(gate) > 0; }));
    ::raise(SIGKILL);
  }}.detach();
  return ::getpid();
}

// A16
TEST_P(FaultInTask, ACrashAfterTheResultLeavesTheValue) {
  pool p{crew_of()};
  const std::string gate = fresh_file();
  const auto before = p.apply_async(crash_later, gate);
  const int pid = before.get();
  mark(gate);
  EXPECT_TRUE(eventually([&] { return !is_alive(pid); }));
  EXPECT_EQ(before.get(), pid);
  EXPECT_TRUE(eventually([&] { return p.stats().deaths == 1; }));
  EXPECT_EQ(p.stats().failed, 0U);
  expect_whole(p);
  EXPECT_FALSE(pids_of(p).contains(pid));
}

// A daemon as they teach it: two forks and a session of its own. And one that only was forgotten.
void leave_descendants(const std::string& pids, bool a_daemon_too) {
  if (a_daemon_too) {
    const pid_t first = ::fork();
    if (first == 0) {
      ::setsid();
      if (::fork() == 0) {
        report(pids, ::getpid());
        for (;;) {
          ::pause();
        }
      }
      ::_exit(0);
    }
    ::waitpid(first, nullptr, 0);
  }
  if (::fork() == 0) {
    report(pids, ::getpid());
    for (;;) {
      ::pause();
    }
  }
  const std::size_t expected = a_daemon_too ? 2 : 1;
  if (!eventually([&] { return reported(pids).size() == expected; })) {
    throw std::runtime_error{"no descendants"};
  }
}
void leave_descendants_and_crash(const std::string& pids, bool a_daemon_too) {
  leave_descendants(pids, a_daemon_too);
  ::raise(SIGKILL);
}

// A17
TEST_P(FaultInTask, WhatAKilledTaskLeftRunningIsKilledToo) {
  pool p{crew_of()};
  const std::string pids = fresh_file();
  EXPECT_TRUE(is_lost(p.apply_async(leave_descendants_and_crash, pids, can_find_daemons()),
                      killed_by{SIGKILL}));
  for (const int pid : reported(pids)) {
    EXPECT_TRUE(eventually([&] { return !is_alive(pid); })) << pid;
  }
  expect_whole(p);
}

// A17
TEST_P(FaultInTask, WhatARecycledWorkerLeftRunningIsKilledToo) {
  pool_options recycling = crew_of();
  recycling.max_tasks_per_worker = 1;
  pool p{recycling};
  const std::string pids = fresh_file();
  p.apply(leave_descendants, pids, can_find_daemons());
  for (const int pid : reported(pids)) {
    EXPECT_TRUE(eventually([&] { return !is_alive(pid); })) << pid;
  }
  EXPECT_TRUE(eventually([&] { return p.stats().recycled == 1; }));
}

// A17
TEST_P(FaultInTask, WhatATaskLeftRunningEndsWithThePool) {
  const std::string pids = fresh_file();
  const std::string more = fresh_file();
  {
    pool p{crew_of()};
    p.apply(leave_descendants, pids, can_find_daemons());
  }
  {
    pool p{crew_of()};
    p.apply(leave_descendants, more, can_find_daemons());
    p.close();
    p.join();
  }
  for (const std::string& file : {pids, more}) {
    for (const int pid : reported(file)) {
      EXPECT_TRUE(eventually([&] { return !is_alive(pid); })) << pid;
    }
  }
}

}  // namespace
}  // namespace troupe::test
