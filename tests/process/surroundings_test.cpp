// SPDX-License-Identifier: BSD-3-Clause
// The directory, the umask and the environment in which workers and processes begin: those that
// the program has when it starts them. (Issue 11, number 24.)
#include "troupe/process.hpp"

#include "fault_fixture.hpp"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace troupe::test {
namespace {

constexpr const char* variable = "TROUPE_TEST_SURROUNDINGS";

std::string value_of(const std::string& name) {
  const char* const value = ::getenv(name.c_str());
  return value == nullptr ? "none" : value;
}

/// Directory, umask and variable of this process.
std::string surroundings() {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  std::error_code none;
  return std::filesystem::current_path(none).string() + " " + std::to_string(mask) + " " +
         value_of(variable);
}

/// Puts back what a test changes in this process.
class Surroundings : public fault_test {
 protected:
  Surroundings() : before_{std::filesystem::current_path()}, mask_{::umask(022)} {
    ::umask(mask_);
    std::filesystem::create_directory(file("there"));
  }
  ~Surroundings() override {
    std::filesystem::current_path(before_);
    ::umask(mask_);
    ::unsetenv(variable);
  }
  /// Returns what a process that begins now is to see.
  std::string go(const char* folder, mode_t mask, const char* value) {
    std::filesystem::current_path(file(folder));
    ::umask(mask);
    ::setenv(variable, value, 1);
    return file(folder) + " " + std::to_string(mask) + " " + value;
  }

  std::filesystem::path before_;
  mode_t mask_;
};
TROUPE_FOR_EVERY_START_METHOD(Surroundings);

TEST_P(Surroundings, WorkersBeginInThoseThatTheProgramHasThen) {
  const std::string now = go("there", 0077, "1");
  pool p{options(1)};
  EXPECT_EQ(p.apply(surroundings), now);
  ::unsetenv(variable);
  pool without{options(1)};
  EXPECT_EQ(without.apply(value_of, std::string{variable}), "none");
  EXPECT_EQ(p.apply(surroundings), now) << "a worker that is there keeps its own";
}

TEST_P(Surroundings, ProcessesBeginInThoseThatTheProgramHasThen) {
  const std::string now = go("there", 0027, "2");
  process one{process_options{.start = GetParam()},
              [](const std::string& to) { std::ofstream{to} << surroundings(); }, file("out")};
  one.start();
  one.join();
  std::ifstream in{file("out")};
  EXPECT_EQ((std::string{std::istreambuf_iterator<char>{in}, {}}), now);
}

TEST_P(Surroundings, ReplacementsBeginInThoseThatTheProgramHasThen) {
  pool p{crew_of(1)};
  EXPECT_NE(p.apply(surroundings).find(" none"), std::string::npos);
  const std::string now = go("there", 0, "3");
  EXPECT_THROW(p.apply([] { ::_exit(1); }), worker_lost);
  EXPECT_EQ(p.apply(surroundings), now);
}

TEST_P(Surroundings, AFreshForkServerHandsThemOn) {
  if (GetParam() == start_method::fork) {
    GTEST_SKIP() << "its workers are children of the program";
  }
  const std::string now = go("there", 0026, "4");
  pool p{crew_of(1)};
  EXPECT_EQ(p.apply(surroundings), now);
  const auto before = pids_of(p);
  for (const int server : fork_servers()) {
    ::kill(server, SIGKILL);
  }
  EXPECT_TRUE(eventually([&] {
    const auto pids = pids_of(p);
    return pids.size() == 1 && pids != before;
  }));
  EXPECT_EQ(p.apply(surroundings), now);
  adopt_fork_server();
}

TEST_P(Surroundings, AnEnvironmentMayBeLargeOrEmpty) {
  const std::string large(100'000, 'x');
  for (const char* const name : {"TROUPE_TEST_LARGE_A", "TROUPE_TEST_LARGE_B"}) {
    ::setenv(name, large.c_str(), 1);
  }
  ::setenv(variable, "", 1);
  {
    pool p{options(1)};
    EXPECT_EQ(p.apply(value_of, std::string{"TROUPE_TEST_LARGE_A"}), large);
    EXPECT_EQ(p.apply(value_of, std::string{"TROUPE_TEST_LARGE_B"}), large);
    EXPECT_EQ(p.apply(value_of, std::string{variable}), "");
  }
  char** const all = environ;
  char* nothing = nullptr;
  environ = &nothing;
  {
    pool p{options(1)};
    EXPECT_EQ(p.apply(value_of, std::string{"PATH"}), "none");
  }
  environ = all;
  for (const char* const name : {"TROUPE_TEST_LARGE_A", "TROUPE_TEST_LARGE_B"}) {
    ::unsetenv(name);
  }
}

TEST_P(Surroundings, ATaskMayChangeThemInItsWorker) {
  pool p{options(1)};
  const std::string there = file("there");
  p.apply(
      [](const std::string& folder) {
        std::filesystem::current_path(folder);
        ::umask(0011);
        ::setenv(variable, "5", 1);
        ::unsetenv("PATH");
      },
      there);
  EXPECT_EQ(p.apply(surroundings), there + " 9 5");
  EXPECT_EQ(p.apply(value_of, std::string{"PATH"}), "none");
  pool other{options(1)};
  EXPECT_EQ(other.apply(value_of, std::string{variable}), "none");
  EXPECT_EQ(other.apply(value_of, std::string{"PATH"}), value_of("PATH"));
}

TEST_P(Surroundings, ADirectoryThatWasRemovedIsTheirsAsWell) {
  std::filesystem::create_directory(file("gone"));
  go("gone", 022, "6");
  std::filesystem::remove(file("gone"));
  pool p{options(1)};
  EXPECT_EQ(p.apply([] {
    std::error_code none;
    return std::filesystem::read_symlink("/proc/self/cwd", none).string();
  }),
            file("gone") + " (deleted)");
}

TEST_P(Surroundings, TheEnvironmentMayChangeWhileWorkersStart) {
  if (GetParam() == start_method::fork) {
    GTEST_SKIP() << "a copy has the environment as it is at that instant, whole or not";
  }
  pool_options one_task_each = options(2);
  one_task_each.max_tasks_per_worker = 1;
  ::setenv(variable, "stays", 1);
  std::jthread changes{[](const std::stop_token& end) {
    // Grows and shrinks, so that the array of pointers moves.
    for (int round = 0; !end.stop_requested(); ++round) {
      for (int i = 0; i < 100; ++i) {
        const std::string name = "TROUPE_TEST_CHANGING_" + std::to_string(i);
        if (round % 2 == 0) {
          ::setenv(name.c_str(), "some value", 1);
        } else {
          ::unsetenv(name.c_str());
        }
      }
    }
    for (int i = 0; i < 100; ++i) {
      ::unsetenv(("TROUPE_TEST_CHANGING_" + std::to_string(i)).c_str());
    }
  }};
  pool p{one_task_each};
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(p.apply(value_of, std::string{variable}), "stays");
  }
}

}  // namespace
}  // namespace troupe::test
