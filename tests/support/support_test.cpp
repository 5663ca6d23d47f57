// SPDX-License-Identifier: BSD-3-Clause
// The vocabulary is what all other tests rest on: each of its checks is seen failing here.
#include "support/eventually.hpp"
#include "support/fails_with.hpp"
#include "support/leak_check.hpp"
#include "support/load_cpu.hpp"
#include "support/no_leaks.hpp"
#include "support/processes.hpp"
#include "support/temp_dir.hpp"
#include "support/unique_name.hpp"
#include "support/watchdog.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using troupe::test::eventually;
using troupe::test::fails_with;
using troupe::test::leak_check;

// A child process that lives until told.
class child {
 public:
  explicit child(const std::function<void()>& body) : pid_{::fork()} {
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // also when a failing test leaves out its end
      body();
      ::_exit(0);
    }
  }
  ~child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  child(const child&) = delete;
  child& operator=(const child&) = delete;
  [[nodiscard]] int pid() const { return pid_; }

 private:
  int pid_;
};

void wait_for_ever() {
  for (;;) {
    ::pause();
  }
}

std::string soon(const leak_check& check) {
  return check.leftovers(50ms);
}

TEST(Eventually, IsFalseOnceTheLimitHasPassed) {
  EXPECT_FALSE(eventually([] { return false; }, 5ms));
}

TEST(Eventually, AsksAgainUntilItIsTrue) {
  int asked = 0;
  EXPECT_TRUE(eventually([&] { return ++asked == 4; }));
  EXPECT_EQ(asked, 4);
}

TEST(LeakCheck, FindsNothingWhenNothingWasLeft) {
  const leak_check check;
  {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    ::close(ends[0]);
    ::close(ends[1]);
    const child gone{wait_for_ever};
    const troupe::test::load_cpu busy{2};
    const troupe::test::temp_dir folder;
  }
  EXPECT_EQ(check.leftovers(10s), "");
}

TEST(LeakCheck, FindsADescriptor) {
  const leak_check check;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  EXPECT_EQ(soon(check), "  descriptors: +2 pipe\n");
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_EQ(soon(check), "");
}

TEST(LeakCheck, FindsADescriptorThatWasClosedForOthers) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const leak_check check;
  ::close(ends[0]);
  EXPECT_EQ(soon(check), "  descriptors: -1 pipe\n");
  ::close(ends[1]);
}

TEST(LeakCheck, FindsNothingWhenOthersRenameOrRemoveAnOpenFile) {
  const troupe::test::temp_dir folder;
  const std::string path = folder.write("log", "").string();
  const int open = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(open, 0);
  const leak_check check;
  std::filesystem::rename(path, path + ".old");
  EXPECT_EQ(soon(check), "");
  std::filesystem::remove(path + ".old");
  EXPECT_EQ(soon(check), "");
  ::close(open);
  EXPECT_NE(soon(check).find("descriptors: -1 " + path), std::string::npos);
}

TEST(LeakCheck, FindsASharedMappingAndItsMemfd) {
  const leak_check check;
  const int file = ::memfd_create("left", MFD_CLOEXEC);
  ASSERT_GE(file, 0);
  ASSERT_EQ(::ftruncate(file, 4096), 0);
  void* memory = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0);
  ASSERT_NE(memory, MAP_FAILED);
  EXPECT_EQ(soon(check),
            "  descriptors: +1 /memfd:left (deleted)\n"
            "  shared mappings: +1 /memfd:left (deleted)\n");
  ::munmap(memory, 4096);
  ::close(file);
}

TEST(LeakCheck, FindsAThread) {
  const leak_check check;
  const troupe::test::load_cpu busy{1};
  EXPECT_EQ(soon(check), "  threads: +1 support_test\n");
}

TEST(LeakCheck, FindsAChildUnlessItIsIgnored) {
  leak_check check;
  const child left{wait_for_ever};
  EXPECT_NE(soon(check).find("process: " + std::to_string(left.pid()) + " (support_test)"),
            std::string::npos);
  check.ignore_process(left.pid());
  EXPECT_EQ(soon(check), "");
}

TEST(LeakCheck, FindsAZombie) {
  const leak_check check;
  const child dead{[] {}};
  const std::string expected = "process: zombie " + std::to_string(dead.pid());
  EXPECT_TRUE(eventually([&] { return soon(check).find(expected) != std::string::npos; }));
}

TEST(LeakCheck, FindsAGrandchild) {
  const leak_check check;
  const child parent{[] {
    const child grandchild{wait_for_ever};
    wait_for_ever();
  }};
  std::vector<troupe::test::process_entry> found;
  EXPECT_TRUE(eventually([&] { return (found = troupe::test::our_processes()).size() == 2; }));
  for (const troupe::test::process_entry& process : found) {
    EXPECT_NE(soon(check).find("process: " + std::to_string(process.pid)), std::string::npos);
    if (process.pid != parent.pid()) {
      ::kill(process.pid, SIGKILL);
    }
  }
}

TEST(LeakCheck, FindsAnOrphanThatLeftForASessionOfItsOwn) {
  const leak_check check;
  const int parent = ::fork();
  if (parent == 0) {
    if (::fork() == 0) {
      ::setsid();
      ::alarm(60);  // should the test not find it
      wait_for_ever();
    }
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(parent, nullptr, 0), parent);
  std::vector<troupe::test::process_entry> found;  // what another test killed may still be dying
  ASSERT_TRUE(eventually([&] { return (found = troupe::test::our_processes()).size() == 1; }));
  EXPECT_NE(found[0].parent, ::getpid());
  EXPECT_NE(soon(check).find("process: " + std::to_string(found[0].pid)), std::string::npos);
  ::kill(found[0].pid, SIGKILL);
  EXPECT_EQ(check.leftovers(10s), "");
}

TEST(LeakCheck, FindsWhatAProcessThatWasThereBeforeHoldsSince) {
  int go[2];
  ASSERT_EQ(::pipe2(go, O_CLOEXEC), 0);
  const child helper{[&] {
    char byte = 0;
    if (::read(go[0], &byte, 1) == 1 && ::memfd_create("late", MFD_CLOEXEC) >= 0) {
      wait_for_ever();
    }
  }};
  const leak_check check;
  EXPECT_EQ(soon(check), "");
  ASSERT_EQ(::write(go[1], "x", 1), 1);
  const std::string expected =
      "  descriptors of process " + std::to_string(helper.pid()) + ": +1 /memfd:late (deleted)\n";
  EXPECT_TRUE(eventually([&] { return soon(check) == expected; }));
  ::close(go[0]);
  ::close(go[1]);
}

TEST(LeakCheck, FindsAName) {
  // A folder of its own, because tests that run at the same time look into the common ones too.
  const troupe::test::temp_dir folder;
  ::setenv("XDG_RUNTIME_DIR", folder.path().c_str(), 1);
  const leak_check check;
  const std::filesystem::path name = folder.write("troupe-socket", "");
  EXPECT_EQ(soon(check), "  name: " + name.string() + "\n");
}

TEST(LeakCheck, FindsAUniqueNameOfThisProgramAndNoneOfOthers) {
  const troupe::test::temp_dir folder;
  ::setenv("XDG_RUNTIME_DIR", folder.path().c_str(), 1);
  const leak_check check;
  const std::string other = "test-of-troupe-" + std::to_string(::getppid()) + "-name";
  const std::filesystem::path of_other = folder.write(other, "");
  EXPECT_EQ(soon(check), "") << "of a test that runs at the same time";
  const std::filesystem::path own = folder.write(troupe::test::unique_name("name"), "");
  EXPECT_EQ(soon(check), "  name: " + own.string() + "\n");
}

TEST(LeakCheck, FindsAChangeOfTheHostProgram) {
  const leak_check check;
  const auto old_handler = ::signal(SIGUSR1, SIG_IGN);
  const mode_t old_mask = ::umask(0);
  sigset_t blocked;
  sigset_t old_blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR2);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &old_blocked);
  const std::filesystem::path old_folder = std::filesystem::current_path();
  std::filesystem::current_path("/");
  const std::string found = soon(check);
  for (const char* change : {"SigIgn: ", "SigBlk: ", "Umask: 0000, was ", "cwd: /, was "}) {
    EXPECT_NE(found.find(change), std::string::npos) << found;
  }
  std::filesystem::current_path(old_folder);
  ::pthread_sigmask(SIG_SETMASK, &old_blocked, nullptr);
  ::umask(old_mask);
  ::signal(SIGUSR1, old_handler);
  EXPECT_EQ(soon(check), "");
}

TEST(FailsWith, HoldsForThatCodeAlone) {
  const auto fail = [] {
    throw troupe::error{troupe::errc::pool_closed, troupe::task_ran::no, "closed"};
  };
  EXPECT_TRUE(fails_with(troupe::errc::pool_closed, fail));
  EXPECT_FALSE(fails_with(troupe::errc::resource_exhausted, fail));
  EXPECT_FALSE(fails_with(troupe::errc::resource_exhausted, [] { return 1; }));
  EXPECT_FALSE(
      fails_with(troupe::errc::resource_exhausted, [] { throw std::logic_error{"other"}; }));
  EXPECT_FALSE(fails_with(troupe::errc::resource_exhausted, [] { throw 1; }));
}

TEST(TempDir, HoldsFilesAndGoesWithThem) {
  std::filesystem::path file;
  {
    const troupe::test::temp_dir folder;
    file = folder.write("a/b.txt", "text");
    EXPECT_EQ(std::filesystem::file_size(file), 4U);
  }
  EXPECT_FALSE(std::filesystem::exists(file.parent_path().parent_path()));
}

TEST(WatchdogDeathTest, NamesTheTestThatHangsAndEndsTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto hang = [] {
    const troupe::test::watchdog dog{20ms, "this one"};
    wait_for_ever();
  };
  EXPECT_EXIT(hang(), testing::KilledBySignal(SIGABRT),
              "this one still runs after 20 ms(.|\n)*process [0-9]+ .support_test"
              "(.|\n)*thread [0-9]+ .support_test");
}

TEST(Watchdog, IsCalledOffAtOnce) {
  const auto begin = std::chrono::steady_clock::now();
  {
    const troupe::test::watchdog dog{1h};
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1h);
}

// The members of a derived fixture are gone before no_leaks looks.
class NoLeaks : public troupe::test::no_leaks {
 protected:
  child helper_{wait_for_ever};
};

TEST_F(NoLeaks, LooksAfterTheMembersOfTheFixtureAreGone) {
  EXPECT_GT(helper_.pid(), 0);
}

}  // namespace

int main(int argc, char** argv) {
  troupe::test::mark_process_tree(argv);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
