// SPDX-License-Identifier: BSD-3-Clause
// What the tests of a pool's semantics share: one fixture for each start method, and signals
// between the test and its tasks that need no clock.
#pragma once

#include "troupe/pool.hpp"

#include "support/eventually.hpp"
#include "support/fails_with.hpp"
#include "support/no_leaks.hpp"
#include "support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace troupe::test {

using namespace std::chrono_literals;

// GCC has no name for UndefinedBehaviorSanitizer: we use it together with the other one.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitized = true;
#else
inline constexpr bool address_sanitized = false;
#endif
#if defined(__SANITIZE_THREAD__)
inline constexpr bool thread_sanitized = true;
#else
inline constexpr bool thread_sanitized = false;
#endif
inline constexpr bool sanitized = address_sanitized || thread_sanitized;

// ---- between processes: a file that grows by a byte an event ------------------------------------

/// One event more. A single write, so events of several processes are all counted.
inline void mark(const std::string& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0 || ::write(file, "x", 1) != 1) {
    throw std::runtime_error{"cannot mark " + path};
  }
  ::close(file);
}
[[nodiscard]] inline std::size_t marks(const std::string& path) {
  std::error_code none;
  const auto size = std::filesystem::file_size(path, none);
  return none ? 0 : static_cast<std::size_t>(size);
}

/// For tasks: says that it runs, and runs until the gate is opened.
inline int wait_at(const std::string& running, const std::string& gate) {
  mark(running);
  if (!eventually([&] { return marks(gate) > 0; })) {
    throw std::runtime_error{"the test did not open the gate"};
  }
  return 1;
}

// ---- functions that many tests call -------------------------------------------------------------

inline int square(int x) {
  return x * x;
}
inline int add(int a, int b) {
  return a + b;
}
inline std::int64_t own_pid(int /*ignored*/ = 0) {
  return ::getpid();
}
inline std::int64_t pid_here() {
  return ::getpid();
}

[[nodiscard]] inline std::set<std::int64_t> pids_of(const pool& p) {
  std::set<std::int64_t> found;
  for (const worker_info& worker : p.workers()) {
    found.insert(worker.pid);
  }
  return found;
}

/// A pool for a test: two workers unless said, a short grace, the fixture's start method.
class pool_test : public no_leaks {
 protected:
  explicit pool_test(std::chrono::seconds limit = 60s) : no_leaks{limit} {}

  /// A task that waits at a gate, and others that were sent to its worker and wait behind it there.
  template <class R>
  struct sent_ahead {
    future<int> running;
    std::vector<future<R>> behind;
    std::string gate;
  };
  /// How many tasks are sent ahead depends on measured times, hence several attempts.
  template <class Submit>
  auto send_ahead(pool& p, int count, Submit submit) {
    using result = typename decltype(submit(0))::value_type;
    sent_ahead<result> made;
    for (int attempt = 0; attempt < 50; ++attempt) {
      p.map(square, std::views::iota(0, 3000));
      const std::string name = "gate " + std::to_string(attempt);
      made = {{}, {}, file(name.c_str())};
      made.running = p.apply_async(wait_at, made.gate + " running", made.gate);
      for (int i = 0; i < count; ++i) {
        made.behind.push_back(submit(i));
      }
      if (eventually([&] { return marks(made.gate + " running") > 0; }) &&
          p.stats().running > static_cast<std::uint64_t>(count) / 2) {
        return made;
      }
      for (auto& f : made.behind) {
        f.cancel();
      }
      mark(made.gate);
      made.running.wait();
    }
    ADD_FAILURE() << "no task was ever sent ahead";
    return made;
  }

  [[nodiscard]] std::string file(const char* name) const { return (dir_.path() / name).string(); }

  temp_dir dir_;
};

class every_start_method : public pool_test, public testing::WithParamInterface<start_method> {
 protected:
  explicit every_start_method(std::chrono::seconds limit = 60s) : pool_test{limit} {}

  void SetUp() override {
    if (GetParam() != start_method::fork) {
      return;
    }
    if (thread_sanitized) {
      GTEST_SKIP() << "ThreadSanitizer lets no fork of a program with threads have threads itself";
    }
    if (address_sanitized) {
      GTEST_SKIP() << "AddressSanitizer of GCC 12 forks with its allocator's locks as they "
                      "are: held by a thread that does not exist in the worker, now and then";
    }
  }

  [[nodiscard]] pool_options options(int workers = 2) const {
    pool_options made;
    made.workers = workers;
    made.start = GetParam();
    return made;
  }
};

inline std::string start_method_name(const testing::TestParamInfo<start_method>& info) {
  return std::string{to_string(info.param)};
}

}  // namespace troupe::test

#define TROUPE_FOR_EVERY_START_METHOD(suite)                                         \
  INSTANTIATE_TEST_SUITE_P(                                                          \
      By, suite,                                                                     \
      testing::Values(troupe::start_method::forkserver, troupe::start_method::spawn, \
                      troupe::start_method::fork),                                   \
      troupe::test::start_method_name)
