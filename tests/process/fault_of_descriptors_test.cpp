// SPDX-License-Identifier: BSD-3-Clause
// A worker, the program or its user has no descriptors left: what needs one fails with an error
// that names the limit, no worker is blamed for it, and everything else goes on.
#include "troupe/connection.hpp"
#include "troupe/mutex.hpp"
#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/this_task.hpp"
#include "troupe/value.hpp"

#include "fault_fixture.hpp"
#include "support/no_descriptors.hpp"

#include <sys/resource.h>

#include <cerrno>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace troupe::test {
namespace {

using failpoint::action;
using failpoint::arm;

struct FaultOfDescriptors : fault_test {
 protected:
  void SetUp() override {
    fault_test::SetUp();
    if (IsSkipped()) {
      return;
    }
    if (address_sanitized) {
      GTEST_SKIP() << "UndefinedBehaviorSanitizer needs a free descriptor to look at an object";
    }
  }
};
TROUPE_FOR_EVERY_START_METHOD(FaultOfDescriptors);

constexpr std::size_t large = 100'000;
constexpr std::uint32_t always = 1'000'000;

std::size_t size_of(const std::vector<char>& bytes) {
  return bytes.size();
}
std::vector<char> bytes_of(std::size_t count) {
  return std::vector<char>(count, 'x');
}
bool lock_once(mutex m) {
  const std::scoped_lock lock{m};
  return true;
}
mutex new_mutex() {
  return mutex{};
}
int sum_of(const std::vector<value<int>>& numbers) {
  int sum = 0;
  for (const auto& number : numbers) {
    sum += number.load();
  }
  return sum;
}

// ---- for tasks: their worker gets no new descriptors from now on, but `spare`

std::unique_ptr<no_descriptors>& shortage_here() {
  static std::unique_ptr<no_descriptors> kept;
  return kept;
}
void begin_shortage(int spare) {
  shortage_here() = std::make_unique<no_descriptors>();
  shortage_here()->allow(static_cast<rlim_t>(spare));
}
void end_shortage() {
  shortage_here().reset();
}

template <class T>
void expect_short(const future<T>& of, task_ran ran, const std::string& limit) {
  try {
    of.get();
    ADD_FAILURE() << "a value";
  } catch (const error& problem) {
    EXPECT_EQ(problem.code(), errc::resource_exhausted) << problem.what();
    EXPECT_EQ(problem.ran(), ran) << problem.what();
    EXPECT_NE(std::string{problem.what()}.find(limit), std::string::npos) << problem.what();
  }
}

TEST_P(FaultOfDescriptors, OfAWorkerFailsWhatNeedsOneAndNothingElse) {
  pool p{crew_of(1)};
  const mutex m;
  const std::vector<char> argument(large, 'x');
  p.apply(begin_shortage, 0);
  const auto with_large = p.apply_async(size_of, argument);
  const auto with_handle = p.apply_async(lock_once, m);
  const auto plain = p.apply_async(square, 4);
  const auto large_result = p.apply_async(bytes_of, large);
  const auto new_handle = p.apply_async(new_mutex);
  const auto last = p.apply_async(square, 5);
  expect_short(with_large, task_ran::no, "RLIMIT_NOFILE (");
  expect_short(with_handle, task_ran::no, "RLIMIT_NOFILE (");
  EXPECT_EQ(plain.get(), 16);
  expect_short(large_result, task_ran::yes, "RLIMIT_NOFILE (");
  EXPECT_THROW(new_handle.get(), error);
  EXPECT_EQ(last.get(), 25);
  p.apply(end_shortage);
  EXPECT_EQ(p.apply(size_of, argument), large);
  EXPECT_TRUE(p.apply(lock_once, m));
  EXPECT_EQ(p.apply(bytes_of, large).size(), large);
  EXPECT_EQ(p.stats().deaths, 0U);
}

// One descriptor after the other is enough for tasks that need one each.
TEST_P(FaultOfDescriptors, ItsLastOneServesOneTaskAfterTheOther) {
  pool p{crew_of(1)};
  p.apply(begin_shortage, 1);
  std::vector<future<std::size_t>> all;
  for (std::size_t i = 0; i < 20; ++i) {
    all.push_back(p.apply_async(size_of, std::vector<char>(large + i, 'x')));
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].get(), large + i);
  }
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(FaultOfDescriptors, SomeOfAMessageAreNoMoreUseThanNone) {
  pool p{crew_of(1)};
  std::vector<value<int>> many;
  for (int i = 0; i < 60; ++i) {
    many.emplace_back(i);
  }
  p.apply(begin_shortage, 50);  // two for each handle while it arrives
  for (int round = 0; round < 5; ++round) {
    expect_short(p.apply_async(sum_of, many), task_ran::no, "RLIMIT_NOFILE (");
    many.resize(20);
    EXPECT_EQ(p.apply(sum_of, many), 190) << "none of those that came are kept";
    for (int i = 20; i < 60; ++i) {
      many.emplace_back(i);
    }
  }
  p.apply(end_shortage);
  EXPECT_EQ(p.apply(sum_of, many), 59 * 60 / 2);
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(FaultOfDescriptors, OfAWorkerFailsTasksOfItsTask) {
  pool p{crew_of(2)};
  const auto inner = [] {
    begin_shortage(0);
    std::string seen;
    try {
      this_task::pool().apply(square, 3);
      seen += "a value";
    } catch (const error& problem) {
      seen += to_string(problem.code());
    }
    end_shortage();
    this_task::pool().apply(square, 3);
    begin_shortage(0);
    try {
      this_task::pool().apply(bytes_of, large);
      seen += ", a value";
    } catch (const error& problem) {
      seen += std::string{", "} + std::string{to_string(problem.code())};
    }
    end_shortage();
    return seen + ", " + std::to_string(this_task::pool().apply(square, 4));
  };
  EXPECT_EQ(p.apply(inner), "resource_exhausted, resource_exhausted, 16");
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(FaultOfDescriptors, OfTheProgramLosesTheResultsThatNeedOneAndNothingElse) {
  pool p{crew_of()};
  EXPECT_EQ(p.apply(square, 2), 4);
  const auto before = pids_of(p);
  future<mutex> with_handle;
  future<std::vector<char>> with_large;
  future<int> plain;
  {
    const no_descriptors none;
    with_handle = p.apply_async(new_mutex);
    with_large = p.apply_async(bytes_of, large);
    plain = p.apply_async(square, 3);
    with_handle.wait();
    with_large.wait();
    EXPECT_EQ(plain.get(), 9);
  }
  expect_short(with_handle, task_ran::yes, "RLIMIT_NOFILE (");
  expect_short(with_large, task_ran::yes, "RLIMIT_NOFILE (");
  EXPECT_EQ(pids_of(p), before) << "no worker is to blame";
  EXPECT_EQ(p.apply(bytes_of, large).size(), large);
  EXPECT_TRUE(p.apply(lock_once, p.apply(new_mutex)));
  expect_whole(p);
}

TEST_P(FaultOfDescriptors, OfTheProgramFailsTasksOfTasksUntilItHasSomeAgain) {
  pool p{crew_of()};
  const auto inner = [](int n) { return this_task::pool().apply(square, n); };
  const auto nested = [&] {
    const no_descriptors none;
    auto made = p.apply_async(inner, 3);
    made.wait();
    return made;
  }();
  expect_short(nested, task_ran::no, "RLIMIT_NOFILE");
  for (int i = 0; i < 2 * crew; ++i) {
    EXPECT_EQ(p.apply(inner, i), i * i);
  }
  expect_whole(p);
}

// The only worker runs a task that waits for one of its own, and there is none for another worker.
TEST_P(FaultOfDescriptors, OfTheProgramFailsTasksOfTasksThatOnlyAFurtherWorkerCouldRun) {
  pool p{crew_of(1)};
  const auto inner = [](int n) { return this_task::pool().apply(square, n); };
  const auto three = [](int n) {
    return this_task::pool().map(square, std::vector{n, n, n}).size();
  };
  future<int> one;
  future<std::size_t> several;
  {
    no_descriptors none;
    none.allow(2);  // enough for the socket on which outcomes come, not for a worker
    one = p.apply_async(inner, 3);
    one.wait();
    several = p.apply_async(three, 3);
    several.wait();
  }
  expect_short(one, task_ran::no, "no other could be started");
  expect_short(one, task_ran::no, "RLIMIT_NOFILE (");
  expect_short(several, task_ran::no, "no other could be started");
  EXPECT_EQ(p.apply(inner, 4), 16);
  EXPECT_EQ(p.apply(three, 4), 3U);
  EXPECT_EQ(p.stats().deaths, 0U);
  expect_whole(p, 1);
}

TEST_P(FaultOfDescriptors, OfTheProgramIsWhatGetSaysUntilItHasSomeAgain) {
  pool p{crew_of()};
  const auto with_handle = p.apply_async(new_mutex);
  const auto several = p.map_async([](int) { return new_mutex(); }, std::vector{1, 2, 3});
  with_handle.wait();
  several.wait();
  {
    const no_descriptors none;
    expect_short(with_handle, task_ran::yes, "RLIMIT_NOFILE (");
    expect_short(several, task_ran::yes, "RLIMIT_NOFILE (");
  }
  EXPECT_TRUE(p.apply(lock_once, with_handle.get()));
  EXPECT_EQ(several.get().size(), 3U);
  expect_whole(p);
}

TEST_P(FaultOfDescriptors, OnTheWayFailsWhatNeedsOneAndNothingElse) {
  twice([&] {
    pool p{crew_of()};
    const mutex m;
    const std::vector<char> argument(large, 'x');
    arm("descriptors.send", action::give_errno, 1, always, ETOOMANYREFS);
    const auto with_large = p.apply_async(size_of, argument);
    const auto with_handle = p.apply_async(lock_once, m);
    const auto large_result = p.apply_async(bytes_of, large);
    const auto new_handle = p.apply_async(new_mutex);
    const auto nested = p.apply_async([] { return this_task::pool().apply(square, 3); });
    const auto plain = p.apply_async(square, 4);
    expect_short(with_large, task_ran::no, "on their way between processes");
    expect_short(with_handle, task_ran::no, "on their way between processes");
    expect_short(large_result, task_ran::yes, "on their way between processes");
    expect_short(new_handle, task_ran::yes, "on their way between processes");
    expect_short(nested, task_ran::no, "on their way between processes");
    EXPECT_EQ(plain.get(), 16);
    EXPECT_TRUE(fails_with(errc::resource_exhausted,
                           [&] { return p.map(size_of, std::vector(30, argument)); }));
    failpoint::reset();
    EXPECT_EQ(p.apply(size_of, argument), large);
    EXPECT_TRUE(p.apply(lock_once, m));
    EXPECT_EQ(p.apply(bytes_of, large).size(), large);
    EXPECT_TRUE(p.apply(lock_once, p.apply(new_mutex)));
    EXPECT_EQ(p.stats().deaths, 0U);
    expect_whole(p);
  });
}

TEST_P(FaultOfDescriptors, OnTheWayForAMomentIsWaitedFor) {
  pool p{crew_of()};
  const std::vector<char> argument(large, 'x');
  arm("descriptors.send", action::give_errno, 1, 3, ETOOMANYREFS);
  EXPECT_EQ(p.apply(size_of, argument), large);
  arm("descriptors.send", action::give_errno, 1, 3, ETOOMANYREFS);
  EXPECT_EQ(p.apply(bytes_of, large).size(), large);
  failpoint::reset();
  expect_whole(p);
}

TEST_P(FaultOfDescriptors, ARetryMayFindSomeAgain) {
  pool p{crew_of()};
  const std::vector<char> argument(large, 'x');
  arm("descriptors.send", action::give_errno, 1, always, ETOOMANYREFS);
  task_options again;
  again.retries = 5;
  again.retry_if = [](const error& problem) {
    failpoint::reset();
    return problem.code() == errc::resource_exhausted;
  };
  EXPECT_EQ(p.with(again).apply(size_of, argument), large);
  expect_whole(p);
}

TEST_P(FaultOfDescriptors, OnTheWayFailsAPoolAndAProcessThatNeedOne) {
  const mutex m;
  arm("descriptors.send", action::give_errno, 1, always, ETOOMANYREFS);
  pool_options how = crew_of();
  how.initializer = call(lock_once, m);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return pool{how}.workers().size(); }));
  process_options started;
  started.start = GetParam();
  process one{started, lock_once, m};
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] {
    one.start();
    return 0;
  }));
  failpoint::reset();
  one.start();
  one.join();
  EXPECT_EQ(one.exit_status(), exit_status{exited{0}});
  pool p{how};
  expect_whole(p);
}

}  // namespace
}  // namespace troupe::test
