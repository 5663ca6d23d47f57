// SPDX-License-Identifier: BSD-3-Clause
// The system gives no process, no descriptor, no memory: an error says so, nothing is lost, and the
// next one works.
#include "fault_fixture.hpp"
#include "support/no_descriptors.hpp"

#include <cerrno>
#include <ranges>
#include <thread>

namespace troupe::test {
namespace {

using failpoint::action;
using failpoint::arm;

struct FaultOfResources : fault_test {};
TROUPE_FOR_EVERY_START_METHOD(FaultOfResources);

void crash_at_once() {
  ::raise(SIGKILL);
}
std::size_t size_of(const std::vector<char>& bytes) {
  return bytes.size();
}
std::vector<char> bytes_of(std::size_t count) {
  return std::vector<char>(count, 'x');
}

// D01
TEST_P(FaultOfResources, AForkThatFailsFailsTheConstructorAndLeavesNoChild) {
  for (const int code : {EAGAIN, ENOMEM}) {
    for (std::uint32_t which = 1; which <= crew; ++which) {
      SCOPED_TRACE(std::to_string(code) + " at worker " + std::to_string(which));
      arm("server.fork", action::give_errno, which, 1, code);
      try {
        const pool p{crew_of()};
        FAIL() << "a pool";
      } catch (const error& problem) {
        EXPECT_EQ(problem.code(), errc::spawn_failed);
        EXPECT_NE(std::string{problem.what()}.find("errno " + std::to_string(code)),
                  std::string::npos)
            << problem.what();
      }
      EXPECT_EQ(count_processes("troupe-w"), 0);
    }
  }
  pool p{crew_of()};
  expect_whole(p);
}

// D02
TEST_P(FaultOfResources, AForkThatFailsForAWhileLeavesAThinnerPool) {
  pool p{crew_of()};
  arm("server.fork", action::give_errno, 1, 8, EAGAIN);
  bystanders others{p, fresh_file(), fresh_file()};
  EXPECT_EQ(outcome_of(p.apply_async(crash_at_once)), ended::lost);
  EXPECT_TRUE(eventually([&] { return failpoint::hits("server.fork") >= 3; }));
  EXPECT_EQ(p.workers().size(), static_cast<std::size_t>(crew) - 1);
  others.expect_success();
  expect_whole(p);
  EXPECT_GE(failpoint::hits("server.fork"), 9U);
}

// D02: no worker is left for a while, tasks wait.
TEST_P(FaultOfResources, WithNoWorkerLeftTasksWaitForTheNext) {
  pool p{crew_of()};
  arm("server.fork", action::give_errno, 1, 8, EAGAIN);
  std::vector<future<void>> lost;
  for (int i = 0; i < crew; ++i) {
    lost.push_back(p.apply_async(crash_at_once));
  }
  for (const auto& one : lost) {
    EXPECT_EQ(outcome_of(one), ended::lost);
  }
  EXPECT_EQ(p.apply(square, 6), 36);
  expect_whole(p);
}

constexpr const char* needs_descriptors =
    "UndefinedBehaviorSanitizer needs a free descriptor to look at an object: without one it takes "
    "a right type for a wrong one";

// D03
TEST_P(FaultOfResources, WithoutDescriptorsAConstructorFailsAndTheNextWorks) {
  if (address_sanitized) {
    GTEST_SKIP() << needs_descriptors;
  }
  for (rlim_t left = 0; left < 12; ++left) {
    SCOPED_TRACE(left);
    no_descriptors few;
    few.allow(left);
    try {
      pool p{crew_of()};
      EXPECT_GE(left, static_cast<rlim_t>(crew)) << "a pool without a descriptor for each worker";
      EXPECT_EQ(p.apply(square, 2), 4);
    } catch (const error& problem) {
      EXPECT_TRUE(problem.code() == errc::resource_exhausted ||
                  problem.code() == errc::spawn_failed)
          << problem.what();
    }
  }
  pool p{crew_of()};
  expect_whole(p);
}

// D03
TEST_P(FaultOfResources, WithoutDescriptorsAPoolWorksOnAndRecoversAfterwards) {
  if (address_sanitized) {
    GTEST_SKIP() << needs_descriptors;
  }
  pool p{crew_of()};
  EXPECT_EQ(p.apply(square, 2), 4);
  const std::vector<char> large(std::size_t{1} << 20, 'x');
  {
    const no_descriptors none;
    std::vector<future<int>> small;
    for (int i = 0; i < 100; ++i) {
      small.push_back(p.apply_async(square, i));
    }
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(small[static_cast<std::size_t>(i)].get(), i * i);
    }
    EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return p.apply(size_of, large); }));
    EXPECT_EQ(outcome_of(p.apply_async(crash_at_once)), ended::lost);
    EXPECT_EQ(p.apply(square, 3), 9);
  }
  expect_whole(p);
  EXPECT_EQ(p.stats().deaths, 1U);
}

// D03: a result in a segment of its own, for which this process has no descriptor left.
TEST_P(FaultOfResources, ALargeResultWithoutADescriptorFailsAloneAndLaterOnesWork) {
  if (address_sanitized) {
    GTEST_SKIP() << needs_descriptors;
  }
  twice([&] {
    pool p{crew_of()};
    EXPECT_EQ(p.apply(square, 2), 4);
    const auto before = p.workers();
    {
      const no_descriptors none;
      const auto result = p.apply_async(bytes_of, std::size_t{1} << 20);
      const ended how = [&] {
        try {
          result.get();
          return ended::value;
        } catch (const error& problem) {
          EXPECT_TRUE(problem.code() == errc::resource_exhausted ||
                      problem.code() == errc::worker_lost)
              << problem.what();
          return ended::failed;
        }
      }();
      EXPECT_EQ(how, ended::failed);
    }
    EXPECT_EQ(p.apply(bytes_of, std::size_t{1} << 20).size(), std::size_t{1} << 20);
    expect_whole(p);
  });
}

// D04: what a channel needs.
TEST_P(FaultOfResources, WithoutMemoryForAChannelAConstructorFailsAndTheNextWorks) {
  for (const char* where : {"memory.create", "memory.allocate"}) {
    for (std::uint32_t which = 1; which <= crew; ++which) {
      SCOPED_TRACE(std::string{where} + " at worker " + std::to_string(which));
      arm(where, action::give_errno, which, 1, ENOSPC);
      EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return pool{crew_of()}; }));
      EXPECT_EQ(count_processes("troupe-w"), 0);
    }
  }
  pool p{crew_of()};
  expect_whole(p);
}

// D04
TEST_P(FaultOfResources, WithoutMemoryForReplacementsThePoolIsThinnerForAWhile) {
  pool p{crew_of()};
  for (const char* where : {"memory.create", "memory.allocate"}) {
    SCOPED_TRACE(where);
    arm(where, action::give_errno, 1, 6, ENOMEM);
    bystanders others{p, fresh_file(), fresh_file()};
    EXPECT_EQ(outcome_of(p.apply_async(crash_at_once)), ended::lost);
    EXPECT_TRUE(eventually([&] { return failpoint::hits(where) >= 6; }));
    others.expect_success();
    expect_whole(p);
  }
}

// D04: what a large argument needs, in the program.
TEST_P(FaultOfResources, WithoutMemoryForAnArgumentTheSubmissionFails) {
  twice([&] {
    pool p{crew_of()};
    bystanders others{p, fresh_file(), fresh_file()};
    std::size_t bytes = std::size_t{1} << 20;
    for (const char* where : {"memory.create", "memory.allocate"}) {
      for (const int code : {ENOSPC, ENOMEM}) {
        SCOPED_TRACE(std::string{where} + " " + std::to_string(code));
        // Each of another size class, so that no segment of before is used again.
        bytes *= 4;
        const std::vector<char> large(bytes, 'x');
        arm(where, action::give_errno, 1, 1, code);
        const bool first_round = failpoint::hits(where) == 0;
        try {
          const std::size_t size = p.apply(size_of, large);
          EXPECT_EQ(size, bytes);
          EXPECT_TRUE(first_round && failpoint::hits(where) == 0) << "the error was swallowed";
        } catch (const error& problem) {
          EXPECT_EQ(problem.code(), errc::resource_exhausted) << problem.what();
          EXPECT_EQ(problem.ran(), task_ran::no);
        }
        EXPECT_EQ(p.apply(size_of, large), bytes);
      }
    }
    failpoint::reset();
    others.expect_success();
    EXPECT_EQ(p.stats().deaths, 0U);
    expect_whole(p);
  });
}

// D04: what a large result needs, in the worker.
TEST_P(FaultOfResources, WithoutMemoryForAResultTheTaskFailsAndItsWorkerStays) {
  pool p{crew_of()};
  const auto before = p.workers();
  std::size_t bytes = std::size_t{1} << 20;
  for (const char* where : {"memory.create", "memory.allocate"}) {
    for (const int code : {ENOSPC, ENOMEM}) {
      SCOPED_TRACE(std::string{where} + " " + std::to_string(code));
      bytes *= 4;
      arm(where, action::give_errno, 1, 1, code);
      try {
        p.apply(bytes_of, bytes);
        ADD_FAILURE() << "a value";
      } catch (const error& problem) {
        EXPECT_TRUE(problem.code() == errc::resource_exhausted ||
                    problem.code() == errc::result_encode_failed)
            << problem.what();
      }
      EXPECT_EQ(p.apply(bytes_of, bytes).size(), bytes);
    }
  }
  EXPECT_EQ(p.workers(), before);
  expect_whole(p);
}

struct blob {
  std::vector<char> bytes;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(bytes);
  }
};
std::size_t size_of_blob(const blob& b) {
  return b.bytes.size();
}
blob blob_of(std::size_t bytes) {
  return {std::vector<char>(bytes, 'x')};
}

// D06
TEST_P(FaultOfResources, ThePayloadLimitIsExactInBothDirections) {
  constexpr std::size_t limit = std::size_t{1} << 20;
  const std::size_t overhead = encode(blob_of(0)).size();
  pool_options limited = crew_of();
  limited.max_payload_bytes = limit;
  twice([&] {
    pool p{limited};
    const auto before = p.workers();
    for (const std::size_t size : {limit - overhead - 1, limit - overhead}) {
      EXPECT_EQ(p.apply(size_of_blob, blob_of(size)), size);
      EXPECT_EQ(p.apply(blob_of, size).bytes.size(), size);
    }
    const std::size_t beyond = limit - overhead + 1;
    EXPECT_TRUE(fails_with(errc::payload_too_large,
                           [&] { return p.apply(size_of_blob, blob_of(beyond)); }));
    EXPECT_TRUE(fails_with(errc::payload_too_large, [&] { return p.apply(blob_of, beyond); }));
    EXPECT_EQ(p.workers(), before);
    expect_whole(p);
  });
}

std::size_t resident_kib() {
  std::ifstream in{"/proc/self/statm"};
  std::size_t total = 0;
  std::size_t resident = 0;
  in >> total >> resident;
  return resident * 4;
}

// D10
TEST_P(FaultOfResources, ManyTasksForAStoppedPoolCostLittleAndNoneIsLost) {
  pool p{crew_of()};
  EXPECT_EQ(p.apply(square, 1), 1);
  for (const worker_info& worker : p.workers()) {
    ::kill(static_cast<pid_t>(worker.pid), SIGSTOP);
  }
  ASSERT_TRUE(eventually([&] { return count_processes("troupe-w", 'T') == crew; }));
  constexpr int count = sanitized ? 20'000 : 200'000;
  std::vector<future<int>> all;
  all.reserve(count);
  const std::size_t before = resident_kib();
  for (int i = 0; i < count; ++i) {
    all.push_back(p.apply_async(square, i % 1000));
  }
  const std::size_t after = resident_kib();
  if (!sanitized) {
    EXPECT_LT(after - before, std::size_t{count}) << "KiB for " << count << " waiting tasks";
  }
  for (const worker_info& worker : p.workers()) {
    ::kill(static_cast<pid_t>(worker.pid), SIGCONT);
  }
  for (int i = 0; i < count; ++i) {
    ASSERT_EQ(all[static_cast<std::size_t>(i)].get(), (i % 1000) * (i % 1000));
  }
  expect_whole(p);
}

// D10
TEST_P(FaultOfResources, ABoundedQueueRefusesOrBlocksForAStoppedPool) {
  pool_options bounded = crew_of();
  bounded.max_queued = 100;
  pool p{bounded};
  for (const worker_info& worker : p.workers()) {
    ::kill(static_cast<pid_t>(worker.pid), SIGSTOP);
  }
  std::vector<future<int>> taken;
  while (auto one = p.try_apply_async(square, 3)) {
    taken.push_back(*one);
    ASSERT_LT(taken.size(), 10'000U);
  }
  EXPECT_GE(taken.size(), 100U);
  std::atomic<bool> through{false};
  std::jthread blocked{[&] {
    EXPECT_EQ(p.apply(square, 4), 16);
    through = true;
  }};
  EXPECT_FALSE(through);
  for (const worker_info& worker : p.workers()) {
    ::kill(static_cast<pid_t>(worker.pid), SIGCONT);
  }
  for (const auto& one : taken) {
    EXPECT_EQ(one.get(), 9);
  }
  blocked.join();
  EXPECT_TRUE(through);
  expect_whole(p);
}

}  // namespace
}  // namespace troupe::test
