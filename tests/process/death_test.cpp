// SPDX-License-Identifier: BSD-3-Clause
// What a worker_lost tells of the death: signal and cause, place, last words, resources, attempts.
#include "troupe/codec.hpp"
#include "troupe/log.hpp"

#include "pool_fixture.hpp"

#include <assert.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TROUPE_SANITIZED 1
#else
#define TROUPE_SANITIZED 0
#endif

namespace troupe::test {
namespace {

struct Death : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(Death);

void no_core() {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
}

void say(const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t count = ::write(STDERR_FILENO, text.data() + done, text.size() - done);
    if (count <= 0) {
      return;
    }
    done += static_cast<std::size_t>(count);
  }
}

/// The worker_lost of a task that must not survive.
template <class Call>
std::optional<worker_lost> loss_of(Call&& call) {
  try {
    std::forward<Call>(call)();
  } catch (const worker_lost& lost) {
    return lost;
  } catch (const std::exception& other) {
    ADD_FAILURE() << "not a worker_lost: " << other.what();
    return std::nullopt;
  }
  ADD_FAILURE() << "it survived";
  return std::nullopt;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

bool any_contains(const std::vector<std::string>& lines, const std::string& part) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return contains(line, part); });
}

/// What this process gets on its descriptor 2 while it lives, as a file.
class stderr_in_file {
 public:
  explicit stderr_in_file(std::string path) : path_{std::move(path)} {
    set_log_hook([](log_level, std::string_view) {});  // only workers write there
    std::fflush(stderr);
    saved_ = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    const int file = ::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    ::dup2(file, STDERR_FILENO);
    ::close(file);
  }
  ~stderr_in_file() { restore(); }
  stderr_in_file(const stderr_in_file&) = delete;
  stderr_in_file& operator=(const stderr_in_file&) = delete;

  void restore() {
    if (saved_ >= 0) {
      ::dup2(saved_, STDERR_FILENO);
      ::close(std::exchange(saved_, -1));
      set_log_hook({});
    }
  }
  [[nodiscard]] std::string text() const {
    std::ifstream in{path_};
    return {std::istreambuf_iterator<char>{in}, {}};
  }

 private:
  std::string path_;
  int saved_ = -1;
};

// ---- signals ------------------------------------------------------------------------------------

void by_raise(int number) {
  no_core();
  ::raise(number);
}

// What surely crashes may otherwise be folded into its caller, or away.
#if defined(__clang__)
#define AS_WRITTEN [[clang::noinline, clang::optnone]]
#else
#define AS_WRITTEN [[gnu::noipa]]
#endif
AS_WRITTEN void write_to_null(int value) {
  volatile int* volatile nowhere = nullptr;
  *nowhere = value;
}
AS_WRITTEN void by_null(int value) {
  no_core();
  write_to_null(value);
  say("never said\n");
}
void by_division(int zero) {
  no_core();
  volatile int divisor = zero;
  volatile int quotient = 17 / divisor;
  static_cast<void>(quotient);
}
void by_illegal_instruction(int /*unused*/) {
  no_core();
  __builtin_trap();
}
void by_end_of_file(const std::string& path) {
  no_core();
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  void* const at = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  static_cast<volatile char*>(at)[10] = 1;
}
AS_WRITTEN void by_call_to_nowhere(int /*unused*/) {
  no_core();
  void (*volatile nowhere)() = nullptr;
  nowhere();
  say("never said\n");
}
AS_WRITTEN int deeper(int n) {  // NOLINT(misc-no-recursion): the point of it
  volatile char frame[4096];    // NOLINT(modernize-avoid-c-arrays): volatile members
  frame[n % 4096] = static_cast<char>(n);
  return n < 0 ? n : deeper((n + 1) & 0x7fffffff) + frame[n % 4096];
}
void by_stack_overflow(int n) {
  no_core();
  deeper(n);
}
void by_assert(int value) {
  no_core();
  // As assert does, which release builds leave out.
  __assert_fail("value > 100", "death_test.cpp", static_cast<unsigned>(value), "by_assert");
}

TEST_P(Death, EverySignalIsNamedWithItsCause) {
  if (TROUPE_SANITIZED) {
    GTEST_SKIP() << "the sanitizer takes these signals";
  }
  pool p{options(1)};
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS}) {
    SCOPED_TRACE(number);
    const auto lost = loss_of([&] { p.apply(by_raise, number); });
    ASSERT_TRUE(lost);
    EXPECT_EQ(lost->signal(), number);
    EXPECT_EQ(lost->signal_name(), signal_name(number));
    EXPECT_EQ(lost->signal_code(), SI_TKILL);
    EXPECT_EQ(lost->signal_meaning(), "SI_TKILL: raised by the process itself");
    EXPECT_FALSE(lost->fault_address());
    EXPECT_FALSE(lost->stack_overflow());
    EXPECT_EQ(lost->out_of_memory(), oom_kill::no);
    EXPECT_EQ(lost->limit(), "");
    EXPECT_FALSE(lost->frames().empty());
    EXPECT_GT(lost->pid(), 0);
    EXPECT_FALSE(lost->host().empty());
  }
}

TEST_P(Death, SignalsWithoutARecordAreNamedAllTheSame) {
  pool p{options(1)};
  for (const int number : {SIGTERM, SIGHUP, SIGTRAP, SIGALRM, SIGXCPU, SIGXFSZ}) {
    const auto lost = loss_of([&] { p.apply(by_raise, number); });
    ASSERT_TRUE(lost);
    EXPECT_EQ(lost->signal(), number);
    EXPECT_EQ(lost->signal_name(), signal_name(number));
    EXPECT_FALSE(lost->signal_code());
    EXPECT_TRUE(lost->frames().empty());
    EXPECT_TRUE(lost->backtrace().empty());
    EXPECT_EQ(lost->limit(), number == SIGXCPU   ? "RLIMIT_CPU: CPU time"
                             : number == SIGXFSZ ? "RLIMIT_FSIZE: size of a file"
                                                 : "");
  }
}

TEST_P(Death, ANullDereferenceHasItsAddressAndTheFunctionsName) {
  if (TROUPE_SANITIZED) {
    GTEST_SKIP() << "the sanitizer reports it";
  }
  pool p{options(1)};
  const auto lost = loss_of([&] { p.apply(by_null, 1); });
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->signal_code(), SEGV_MAPERR);
  EXPECT_EQ(lost->signal_meaning(), "SEGV_MAPERR: address not mapped");
  EXPECT_EQ(lost->fault_address(), 0U);
  EXPECT_TRUE(contains(lost->what(), "SEGV_MAPERR: address not mapped, at 0x0")) << lost->what();
  const auto lines = lost->backtrace();
  ASSERT_GE(lines.size(), 3U);
  EXPECT_LE(lines.size(), 64U);
#if TROUPE_TEST_SYMBOLS
  EXPECT_TRUE(contains(lines[0], "write_to_null(int)")) << lines[0];
  EXPECT_TRUE(contains(lines[1], "by_null(int)")) << lines[1];
  EXPECT_TRUE(contains(lines[0], "death_test.cpp:")) << lines[0];
  EXPECT_TRUE(any_contains(lines, "run_worker"));
#endif
  EXPECT_TRUE(contains(lines[0], "death_test+0x")) << lines[0];
}

int throw_deep_inside(int n) {
  if (n == 0) {
    throw std::out_of_range{"too deep"};
  }
  return throw_deep_inside(n - 1) + 1;
}
int by_throw(int n) {
  return throw_deep_inside(n) + 1;
}

TEST_P(Death, AnExceptionTellsWhereItWasThrown) {
  pool p{options(1)};
  std::optional<failure> why;
  try {
    p.apply(by_throw, 2);
  } catch (const remote_error_info& info) {
    why = info.as_failure();
    EXPECT_TRUE(contains(info.report(), "backtrace, innermost call first:")) << info.report();
#if TROUPE_TEST_SYMBOLS
    if (!TROUPE_SANITIZED) {
      const auto lines = info.backtrace();
      ASSERT_GE(lines.size(), 4U);
      EXPECT_TRUE(contains(lines[0], "throw_deep_inside(int)")) << lines[0];
      EXPECT_TRUE(contains(lines[0], "death_test.cpp:")) << lines[0];
      EXPECT_TRUE(contains(lines[2], "throw_deep_inside(int)")) << lines[2];
      EXPECT_TRUE(contains(lines[3], "by_throw(int)")) << lines[3];
      EXPECT_FALSE(any_contains(lines, "run_worker")) << "of the library only what called the task";
    }
#endif
  }
  ASSERT_TRUE(why);
#if defined(__x86_64__) || defined(__aarch64__)
  EXPECT_FALSE(why->frames.empty());
  EXPECT_LE(why->frames.size(), 32U);
#endif
  EXPECT_THROW(p.apply(by_throw, 100), std::out_of_range) << "longer than what is kept";
}

TEST_P(Death, FaultsOfTheMachineHaveTheirCodes) {
  if (TROUPE_SANITIZED) {
    GTEST_SKIP() << "the sanitizer reports them";
  }
  pool p{options(1)};
#if defined(__x86_64__)
  const auto division = loss_of([&] { p.apply(by_division, 0); });
  ASSERT_TRUE(division);
  EXPECT_EQ(division->signal_meaning(), "FPE_INTDIV: integer division by zero");
  const auto trap = loss_of([&] { p.apply(by_illegal_instruction, 0); });
  ASSERT_TRUE(trap);
  EXPECT_EQ(trap->signal_meaning(), "ILL_ILLOPN: illegal operand, as of __builtin_trap");
  EXPECT_TRUE(trap->fault_address());
#endif
  const auto bus = loss_of([&] { p.apply(by_end_of_file, file("empty")); });
  ASSERT_TRUE(bus);
  EXPECT_EQ(bus->signal(), SIGBUS);
  EXPECT_EQ(bus->signal_code(), BUS_ADRERR);
  EXPECT_EQ(bus->fault_address().value_or(0) % 4096, 10U);
}

TEST_P(Death, ACallToWhereNoCodeIsNamesItsCaller) {
  if (TROUPE_SANITIZED) {
    GTEST_SKIP() << "the sanitizer reports it";
  }
  pool p{options(1)};
  const auto lost = loss_of([&] { p.apply(by_call_to_nowhere, 0); });
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->fault_address(), 0U);
  const auto lines = lost->backtrace();
  ASSERT_GE(lines.size(), 2U);
  EXPECT_EQ(lines[0], "0x0");
#if TROUPE_TEST_SYMBOLS && defined(__x86_64__)
  EXPECT_TRUE(contains(lines[1], "by_call_to_nowhere(int)")) << lines[1];
#endif
}

TEST_P(Death, AStackOverflowIsToldFromOtherFaults) {
  if (TROUPE_SANITIZED) {
    GTEST_SKIP() << "the sanitizer reports it";
  }
  pool p{options(1)};
  const auto lost = loss_of([&] { p.apply(by_stack_overflow, 0); });
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->signal(), SIGSEGV);
  EXPECT_TRUE(lost->stack_overflow());
  EXPECT_EQ(lost->frames().size(), 64U);
#if TROUPE_TEST_SYMBOLS
  EXPECT_TRUE(contains(lost->backtrace()[5], "deeper(int)")) << lost->backtrace()[5];
#endif
  EXPECT_TRUE(contains(lost->report(), "most likely a stack overflow")) << lost->report();
}

TEST_P(Death, AnAbortBringsItsLastWords) {
  pool p{options(1)};
  const auto lost = loss_of([&] { p.apply(by_assert, 7); });
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->signal(), SIGABRT);
  EXPECT_TRUE(contains(lost->stderr_tail(), "Assertion `value > 100' failed."))
      << lost->stderr_tail();
  EXPECT_TRUE(contains(lost->report(), "Assertion `value > 100' failed.")) << lost->report();
}

TEST_P(Death, AnExitCodeHasNoSignalAndItsLastWords) {
  pool p{options(1)};
  const auto lost = loss_of([&] {
    p.apply([] {
      say("one\n");
      say("\x1b[31mtwo, unfinished");
      ::_exit(42);
    });
  });
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->exit(), exit_status{exited{42}});
  EXPECT_EQ(lost->signal_name(), "");
  EXPECT_FALSE(lost->signal_code());
  EXPECT_EQ(lost->out_of_memory(), oom_kill::no);
  EXPECT_TRUE(lost->frames().empty());
  EXPECT_EQ(lost->stderr_tail(), "one\n\x1b[31mtwo, unfinished");
  EXPECT_TRUE(contains(lost->report(), "| one\n    | \\x1b[31mtwo, unfinished")) << lost->report();
}

TEST_P(Death, AKillFromOutsideLeavesNoRecordAndSaysSo) {
  pool p{options(1)};
  auto waiting = p.apply_async(wait_at, file("running"), file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  const auto pid = static_cast<pid_t>(*pids_of(p).begin());
  ::kill(pid, SIGKILL);
  const auto lost = loss_of([&] { waiting.get(); });
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->pid(), pid);
  EXPECT_EQ(lost->signal_name(), "SIGKILL");
  EXPECT_FALSE(lost->signal_code());
  EXPECT_FALSE(lost->fault_address());
  EXPECT_TRUE(lost->frames().empty());
  EXPECT_NE(lost->out_of_memory(), oom_kill::yes);
  EXPECT_TRUE(contains(lost->report(), "no record: SIGKILL")) << lost->report();
}

TEST_P(Death, ASignalFromOutsideIsNoFault) {
  if (TROUPE_SANITIZED) {
    GTEST_SKIP() << "the sanitizer takes the signal";
  }
  pool p{options(1)};
  auto waiting = p.apply_async(wait_at, file("running"), file("gate"));
  ASSERT_TRUE(eventually([&] { return marks(file("running")) > 0; }));
  ::kill(static_cast<pid_t>(*pids_of(p).begin()), SIGSEGV);
  const auto lost = loss_of([&] { waiting.get(); });
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->signal_meaning(), "SI_USER: sent by kill");
  EXPECT_FALSE(lost->fault_address());
}

TEST_P(Death, ATasksOwnHandlerReplacesOurs) {
  pool p{options(1)};
  const auto lost = loss_of([&] {
    p.apply([] {
      ::signal(SIGSEGV, [](int) { ::_exit(9); });
      ::raise(SIGSEGV);
    });
  });
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->exit(), exit_status{exited{9}});
  EXPECT_FALSE(lost->signal_code());
}

TEST_P(Death, AForkedChildOfATaskCrashesWithoutHarmToItsWorker) {
  pool p{options(1)};
  const int status = p.apply([] {
    const pid_t child = ::fork();
    if (child == 0) {
      no_core();
      ::raise(SIGABRT);
      ::_exit(0);
    }
    int end = 0;
    ::waitpid(child, &end, 0);
    return end;
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGABRT);
  const auto lost = loss_of([&] { p.apply([] { ::raise(SIGKILL); }); });
  ASSERT_TRUE(lost);
  EXPECT_FALSE(lost->signal_code()) << "the child's crash was noted as the worker's";
}

TEST_P(Death, ACrashInAnotherThreadOfTheTaskIsNoted) {
  if (TROUPE_SANITIZED) {
    GTEST_SKIP() << "the sanitizer reports it";
  }
  pool p{options(1)};
  const auto lost = loss_of([&] { p.apply([] { std::thread{by_null, 1}.join(); }); });
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->signal_code(), SEGV_MAPERR);
#if TROUPE_TEST_SYMBOLS
  EXPECT_TRUE(any_contains(lost->backtrace(), "by_null(int)"));
#endif
}

TEST_P(Death, ABrokenStackStillGivesTheFirstSignal) {
#if defined(__x86_64__) && !TROUPE_SANITIZED
  pool p{options(1)};
  const auto lost = loss_of([&] {
    p.apply([] {
      no_core();
      // Nothing that could be unwound: the handler itself may fault.
      asm volatile("mov $16, %%rsp\n mov $16, %%rbp\n xor %%rax, %%rax\n mov %%rax, (%%rax)" ::
                       : "memory", "rax");
    });
  });
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->signal(), SIGSEGV);
  EXPECT_EQ(lost->fault_address(), 0U);
#else
  GTEST_SKIP() << "made of assembly";
#endif
}

TEST_P(Death, ResourcesAreCounted) {
  pool p{options(1)};
  const auto lost = loss_of([&] {
    p.apply([] {
      const std::string memory(std::size_t{64} << 20, 'm');
      const auto until = std::chrono::steady_clock::now() + 50ms;
      while (std::chrono::steady_clock::now() < until) {
      }
      ::_exit(memory[5] == 'm' ? 1 : 2);
    });
  });
  ASSERT_TRUE(lost);
  ASSERT_TRUE(lost->usage());
  EXPECT_GE(lost->usage()->max_rss_kib, 64 << 10);
  EXPECT_GT(lost->usage()->user_us + lost->usage()->system_us, 5'000);
  EXPECT_TRUE(contains(lost->report(), "KiB resident")) << lost->report();
}

TEST_P(Death, ALimitOnCpuTimeIsNamed) {
  pool p{options(1)};
  const auto lost = loss_of([&] {
    p.apply([] {
      no_core();
      const rlimit second{1, 10};
      ::setrlimit(RLIMIT_CPU, &second);
      for (volatile bool on = true; on;) {
      }
    });
  });
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->signal_name(), "SIGXCPU");
  EXPECT_EQ(lost->limit(), "RLIMIT_CPU: CPU time");
  EXPECT_TRUE(contains(lost->what(), "RLIMIT_CPU")) << lost->what();
}

// ---- stderr -------------------------------------------------------------------------------------

std::string numbered_lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    std::string line = "line " + std::to_string(i) + " ";
    line.resize(63, '.');
    text += line + "\n";
  }
  return text;
}

TEST_P(Death, AMebibyteOfStderrArrivesWholeAndItsEndIsKept) {
  constexpr int lines = (1 << 20) / 64;
  const std::string path = file("stderr");
  std::optional<worker_lost> lost;
  {
    const stderr_in_file captured{path};
    pool p{options(1)};
    lost = loss_of([&] {
      p.apply([] {
        say(numbered_lines(lines));
        ::_exit(1);
      });
    });
    p.close();
    p.join();
    EXPECT_TRUE(eventually([&] { return captured.text().size() >= std::size_t{1} << 20; }));
    EXPECT_TRUE(captured.text() == numbered_lines(lines));
  }
  ASSERT_TRUE(lost);
  const std::string all = numbered_lines(lines);
  EXPECT_EQ(lost->stderr_tail(), all.substr(all.size() - std::size_t{20} * 64));
}

TEST_P(Death, LinesOfManyWorkersStayWhole) {
  const std::string path = file("stderr");
  const stderr_in_file captured{path};
  pool p{options(4)};
  p.map(
      [](int i) {
        const std::string line =
            std::to_string(i) + std::string(50, static_cast<char>('a' + i % 26));
        say(line + "\n" + line + "\n");
        return 0;
      },
      std::views::iota(0, 400));
  p.close();
  p.join();
  std::multiset<std::string> found;
  EXPECT_TRUE(eventually([&] { return std::ranges::count(captured.text(), '\n') == 800; }));
  std::istringstream in{captured.text()};
  for (std::string line; std::getline(in, line);) {
    found.insert(line);
  }
  for (int i = 0; i < 400; ++i) {
    EXPECT_EQ(found.count(std::to_string(i) + std::string(50, static_cast<char>('a' + i % 26))),
              2U);
  }
}

TEST_P(Death, AnUnfinishedLineIsPassedOnWhileTheTaskRuns) {
  const stderr_in_file captured{file("stderr")};
  pool p{options(1)};
  auto waiting = p.apply_async(
      [](const std::string& running, const std::string& gate) {
        say("50 % ...");
        return wait_at(running, gate);
      },
      file("running"), file("gate"));
  EXPECT_TRUE(eventually([&] { return captured.text() == "50 % ..."; }));
  mark(file("gate"));
  EXPECT_EQ(waiting.get(), 1);
}

TEST_P(Death, AGrandchildThatKeepsThePipeDelaysNothing) {
  pool p{options(1)};
  const std::string ended = file("grandchild ended");
  const auto hold_the_pipe = [](const std::string& at_the_end) {
    const pid_t child = ::fork();
    if (child == 0) {
      // Not in the worker's group, so it may outlive its worker, and the pipe's end with it.
      ::setsid();
      ::sleep(3);
      mark(at_the_end);
      ::_exit(0);
    }
    say("the end\n");
    ::raise(SIGKILL);
  };
  const auto lost = loss_of([&] { p.apply(hold_the_pipe, ended); });
  ASSERT_TRUE(lost);
  EXPECT_TRUE(contains(lost->stderr_tail(), "the end\n")) << lost->stderr_tail();
  EXPECT_EQ(marks(ended), 0U) << "the report waited for the grandchild";
  EXPECT_EQ(p.apply(square, 3), 9);
}

TEST_P(Death, AStderrWithoutAReaderStopsOnlyTheWorkerThatWrites) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const int saved = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  ::dup2(ends[1], STDERR_FILENO);
  ::close(ends[1]);
  std::string got;
  {
    pool p{options(2)};
    auto writer = p.apply_async([] {
      say(numbered_lines((1 << 20) / 64));
      return 1;
    });
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(p.apply(square, i), i * i);  // the other worker, and the reactor, go on
    }
    EXPECT_FALSE(writer.wait_for(50ms)) << "a mebibyte fits in no pipe";
    char buffer[65536];
    while (got.size() < (std::size_t{1} << 20)) {
      const ssize_t count = ::read(ends[0], buffer, sizeof buffer);
      ASSERT_GT(count, 0);
      got.append(buffer, static_cast<std::size_t>(count));
    }
    EXPECT_EQ(writer.get(), 1);
  }
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  ::close(ends[0]);
  EXPECT_TRUE(got == numbered_lines((1 << 20) / 64));
}

TEST_P(Death, WithoutCaptureTheWorkerHasTheProgramsOwnStderr) {
  const auto here = std::filesystem::read_symlink("/proc/self/fd/2").string();
  const auto theirs = [] { return std::filesystem::read_symlink("/proc/self/fd/2").string(); };
  pool_options plain = options(1);
  plain.capture_stderr = false;
  pool p{plain};
  EXPECT_EQ(p.apply(theirs), here);
  const auto lost = loss_of([&] { p.apply([] { ::_exit(1); }); });
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->stderr_tail(), "");
  EXPECT_TRUE(lost->usage());
  pool q{options(1)};
  EXPECT_TRUE(q.apply(theirs).starts_with("pipe:"));
}

TEST_P(Death, WithFewDescriptorsItIsDoneWithoutCapture) {
  rlimit old{};
  ::getrlimit(RLIMIT_NOFILE, &old);
  const rlimit few{80, old.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &few);
  std::string logged;
  std::mutex mutex;
  set_log_hook([&](log_level level, std::string_view text) {
    if (level >= log_level::warning) {
      const std::lock_guard lock{mutex};
      logged += text;
    }
  });
  {
    pool p{options(8)};
    EXPECT_EQ(p.map(square, std::views::iota(0, 100)).size(), 100U);
    const auto lost = loss_of([&] {
      p.apply([] {
        no_core();
        ::close(STDERR_FILENO);
        std::abort();
      });
    });
    ASSERT_TRUE(lost);
    EXPECT_EQ(lost->stderr_tail(), "");
  }
  set_log_hook({});
  ::setrlimit(RLIMIT_NOFILE, &old);
  // Told once a program, so here by the first of the three start methods or by none.
  EXPECT_TRUE(logged.empty() || contains(logged, "descriptors are short")) << logged;
}

// ---- attempts, and reports ----------------------------------------------------------------------

void crash_differently() {
  no_core();
  if (this_task::attempt() == 1) {
    ::_exit(11);
  }
  ::raise(this_task::attempt() == 2 ? SIGTERM : SIGKILL);
}

TEST_P(Death, APoisonTaskListsAllOfItsAttempts) {
  pool p{options(2)};
  const auto lost = loss_of([&] { p.with({.retries = 2}).apply(crash_differently); });
  ASSERT_TRUE(lost);
  const auto& attempts = lost->attempts();
  ASSERT_EQ(attempts.size(), 3U);
  std::set<std::int64_t> pids;
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    EXPECT_EQ(attempts[i].attempt, i + 1);
    pids.insert(attempts[i].pid);
  }
  EXPECT_EQ(pids.size(), 3U);
  EXPECT_EQ(attempts[0].reason, "exit code 11");
  EXPECT_EQ(attempts[1].reason, "SIGTERM (signal 15)");
  EXPECT_EQ(attempts[2].reason, "SIGKILL (signal 9)");
  EXPECT_EQ(attempts[2].pid, lost->pid());
  const std::string text = lost->report();
  for (const attempt_end& one : attempts) {
    EXPECT_TRUE(contains(
        text, std::to_string(one.attempt) + ": pid " + std::to_string(one.pid) + ": " + one.reason))
        << text;
  }
}

TEST_P(Death, ATaskThatThrowsAfterALostAttemptSaysBoth) {
  pool p{options(1)};
  try {
    p.with({.retries = 1}).apply([] {
      if (this_task::attempt() == 1) {
        ::raise(SIGKILL);
      }
      throw std::out_of_range{"second"};
    });
    FAIL() << "no exception";
  } catch (const std::out_of_range& thrown) {
    const auto* const info = dynamic_cast<const remote_error_info*>(&thrown);
    ASSERT_NE(info, nullptr);
    ASSERT_EQ(info->as_failure().attempts.size(), 1U);
    EXPECT_EQ(info->as_failure().attempts[0].reason, "SIGKILL (signal 9)");
    EXPECT_TRUE(contains(info->report(), "1: pid ")) << info->report();
    EXPECT_TRUE(contains(info->report(), "std::out_of_range: second")) << info->report();
  }
}

TEST_P(Death, AReportTellsEverything) {
  pool p{options(1)};
  const auto lost = loss_of([&] {
    p.apply([] {
      no_core();
      say("last words\n");
      ::raise(SIGABRT);
    });
  });
  ASSERT_TRUE(lost);
  const error& base = *lost;
  const std::string text = base.report();
  for (const std::string& part :
       {std::string{"worker_lost: task #"}, "pid " + std::to_string(lost->pid()) + " on ",
        std::string{"did it run: maybe"}, std::string{"SIGABRT (signal 6)"},
        std::string{"KiB resident"}, std::string{"    | last words"}}) {
    EXPECT_TRUE(contains(text, part)) << part << " is not in\n" << text;
  }
  if (!TROUPE_SANITIZED) {
    EXPECT_TRUE(contains(text, "backtrace, innermost call first:\n    #0 ")) << text;
  }
}

TEST_P(Death, ADeathCrossesWithAllThatIsKnown) {
  pool p{options(1)};
  const auto lost = loss_of([&] { p.apply(by_raise, SIGABRT); });
  ASSERT_TRUE(lost);
  const failure copy = decode<failure>(encode(lost->as_failure()));
  EXPECT_EQ(copy, lost->as_failure());
}

TEST_P(Death, AnInitializerThatCrashesIsDescribedToo) {
  pool_options crashing = options(1);
  crashing.initializer = call([] {
    no_core();
    say("no model file\n");
    std::abort();
  });
  try {
    pool p{crashing};
    FAIL() << "a pool";
  } catch (const error& problem) {
    EXPECT_EQ(problem.code(), errc::spawn_failed);
    EXPECT_TRUE(contains(problem.report(), "| no model file")) << problem.report();
    EXPECT_TRUE(contains(problem.report(), "SIGABRT")) << problem.report();
  }
}

}  // namespace
}  // namespace troupe::test
