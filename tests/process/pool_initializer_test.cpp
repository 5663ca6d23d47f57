// SPDX-License-Identifier: BSD-3-Clause
// The initializer: once in every worker before its first task, and its failures are the
// constructor's.
#include "troupe/this_process.hpp"

#include "pool_fixture.hpp"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

struct PoolInitializer : every_start_method {
 protected:
  [[nodiscard]] pool_options with_initializer(bound_call initializer, int workers = 2) const {
    pool_options made = options(workers);
    made.initializer = std::move(initializer);
    return made;
  }
};
TROUPE_FOR_EVERY_START_METHOD(PoolInitializer);

int initialized_with = 0;

void initialize(const std::string& log, int value) {
  mark(log);
  initialized_with += value;
}
int initialized() {
  return initialized_with;
}
void die() {
  ::kill(::getpid(), SIGKILL);
}

TEST_P(PoolInitializer, RunsOnceInEachWorkerBeforeItsFirstTask) {
  pool p{with_initializer(call(initialize, file("log"), 5), 3)};
  EXPECT_EQ(marks(file("log")), 3U);
  for (const int value :
       p.map([](int) { return initialized(); }, std::views::iota(0, 100), {.chunk = 1})) {
    EXPECT_EQ(value, 5);
  }
  EXPECT_EQ(marks(file("log")), 3U);
  EXPECT_EQ(initialized_with, 0) << "it ran here";
}

TEST_P(PoolInitializer, RunsInReplacementsToo) {
  pool p{with_initializer(call(initialize, file("log"), 5), 1)};
  for (std::size_t deaths = 1; deaths <= 3; ++deaths) {
    EXPECT_THROW(p.apply(die), worker_lost);
    EXPECT_EQ(p.apply(initialized), 5);
    EXPECT_EQ(marks(file("log")), 1 + deaths);
  }
}

TEST_P(PoolInitializer, RunsInRecycledWorkersToo) {
  pool_options recycling = with_initializer(call(initialize, file("log"), 5), 1);
  recycling.max_tasks_per_worker = 2;
  pool p{recycling};
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(p.apply(initialized), 5);
  }
  EXPECT_GE(marks(file("log")), 3U);
}

TEST_P(PoolInitializer, AnyCallableWithoutArgumentsWillDo) {
  pool p{with_initializer([] { initialized_with = 9; })};
  EXPECT_EQ(p.apply(initialized), 9);
}

void load_model(const std::string& name) {
  throw std::out_of_range{"no model " + name};
}

// Python starts workers for ever.
TEST_P(PoolInitializer, WhatItThrowsComesOutOfTheConstructor) {
  try {
    const pool p{with_initializer(call(load_model, "m.bin"), 3)};
    FAIL() << "the pool was made";
  } catch (const std::out_of_range& thrown) {
    EXPECT_STREQ(thrown.what(), "no model m.bin");
    const auto* info = dynamic_cast<const remote_error_info*>(&thrown);
    ASSERT_NE(info, nullptr);
    EXPECT_NE(info->pid(), 0);
    EXPECT_NE(info->pid(), ::getpid());
  }
  EXPECT_THROW(pool(with_initializer([] { throw 42; })), remote_error);
}

template <class Call>
std::string spawn_failure(Call&& make) {
  try {
    make();
  } catch (const error& thrown) {
    EXPECT_TRUE(thrown.code() == errc::spawn_failed || thrown.code() == errc::initializer_failed)
        << to_string(thrown.code());
    EXPECT_EQ(thrown.ran(), task_ran::no);
    return thrown.what();
  }
  ADD_FAILURE() << "the pool was made";
  return "";
}

TEST_P(PoolInitializer, OneThatExitsFailsTheConstructorWithTheExitCode) {
  const std::string text =
      spawn_failure([&] { const pool p{with_initializer([] { ::_exit(99); })}; });
  EXPECT_NE(text.find("exit code 99"), std::string::npos) << text;
  EXPECT_NE(text.find("initializer"), std::string::npos) << text;
}

TEST_P(PoolInitializer, OneThatCrashesFailsTheConstructorWithTheSignal) {
  const std::string text = spawn_failure([&] {
    const pool p{with_initializer([] {
      ::signal(SIGSEGV, SIG_DFL);
      ::raise(SIGSEGV);
    })};
  });
  EXPECT_NE(text.find("SIGSEGV"), std::string::npos) << text;
  EXPECT_NE(text.find("initializer"), std::string::npos) << text;
}

TEST_P(PoolInitializer, OneThatTakesTooLongFailsTheConstructorWithStartTimeout) {
  pool_options impatient = with_initializer([] {
    for (;;) {
      ::pause();
    }
  });
  impatient.start_timeout = 200ms;
  EXPECT_TRUE(fails_with(errc::start_timeout, [&] {
    const pool p{impatient};
    return 0;
  }));
}

void fail_once_marked(const std::string& bad) {
  if (marks(bad) > 0) {
    throw std::domain_error{"the model is gone"};
  }
}

TEST_P(PoolInitializer, OneThatFailsInReplacementsBreaksThePoolInsteadOfRestartingForEver) {
  pool_options brittle = with_initializer(call(fail_once_marked, file("bad")), 1);
  brittle.restart.start_attempts = 2;
  brittle.restart.backoff = 1ms;
  pool p{brittle};
  EXPECT_EQ(p.apply(square, 3), 9);
  mark(file("bad"));
  auto lost = p.apply_async(die);
  EXPECT_THROW(lost.get(), worker_lost);
  try {
    // Accepted before the pool gave up, or refused after: the same end.
    p.apply(square, 3);
    FAIL() << "a worker computed it";
  } catch (const pool_broken& thrown) {
    EXPECT_NE(std::string{thrown.what()}.find("the model is gone"), std::string::npos)
        << thrown.what();
  }
  EXPECT_TRUE(fails_with(errc::pool_broken, [&] { return p.apply(square, 3); }));
  p.join();
}

TEST_P(PoolInitializer, AReplacementThatFailsOnceIsTriedAgain) {
  pool p{with_initializer(call(
                              [](const std::string& bad, const std::string& tried) {
                                if (marks(bad) > 0 && marks(tried) == 0) {
                                  mark(tried);
                                  throw std::domain_error{"not yet"};
                                }
                              },
                              file("bad"), file("tried")),
                          1)};
  mark(file("bad"));
  EXPECT_THROW(p.apply(die), worker_lost);
  EXPECT_EQ(p.apply(square, 3), 9);
  EXPECT_EQ(marks(file("tried")), 1U);
}

TEST_P(PoolInitializer, ABigArgumentIsAnErrorThatSaysWhatToDo) {
  try {
    const pool p{with_initializer(call([](const std::string&) {}, std::string(1 << 20, 'x')))};
    SUCCEED() << "it crossed";
  } catch (const error& thrown) {
    EXPECT_EQ(thrown.code(), errc::payload_too_large);
  }
}

}  // namespace
}  // namespace troupe::test
