// SPDX-License-Identifier: BSD-3-Clause
// Names of shared memory while several processes make, find and remove them at once, and where the
// memory behind them is not to be had.
#include "troupe/error.hpp"
#include "troupe/mutex.hpp"
#include "troupe/shared_memory.hpp"

#include "runtime/shared/shared_fixture.hpp"
#include "support/fails_with.hpp"
#include "support/unique_name.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <system_error>

namespace troupe {
namespace {

using detail::failpoint::action;
using test::forked;
using test::signpost;

/// A /dev/shm for the calling thread and its children alone.
bool has_own_folder(const char* size) {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("none", "/dev/shm", "tmpfs", 0, size) == 0;
}

/// Guardians of any program remove abandoned names, also while these tests look at them: so they
/// have a folder of their own.
class SharedMemoryNames : public test::shared_objects {
 protected:
  SharedMemoryNames() { take_baseline(); }
  void SetUp() override {
    if (!own_folder_) {
      GTEST_SKIP() << "no file system may be mounted here";
    }
  }

  static std::string unique(const std::string& name) { return test::unique_name("names-" + name); }
  static bool exists(const std::string& name) {
    return ::access(("/dev/shm/" + name).c_str(), F_OK) == 0;
  }
  /// A name whose only owner was killed.
  static void abandon(const std::string& name) {
    forked maker{[&] {
      const shared_memory memory{10, {.name = name}};
      ::kill(::getpid(), SIGKILL);
      return 0;
    }};
    EXPECT_EQ(maker.wait(), 1000 + SIGKILL);
    EXPECT_TRUE(exists(name));
  }
  static void wait_until_stopped(const forked& child) {
    int status = 0;
    ASSERT_EQ(::waitpid(child.pid(), &status, WUNTRACED), child.pid());
    ASSERT_TRUE(WIFSTOPPED(status));
  }
  /// Removes abandoned names and stops at the fail-point, where it has seen that `name` is one.
  static std::unique_ptr<forked> cleaner_stopped_at(const std::string& point,
                                                    const std::string& name) {
    abandon(name);
    detail::failpoint::arm(point, action::stop);
    auto cleaner = std::make_unique<forked>([] {
      detail::remove_abandoned_blocks();
      return 0;
    });
    wait_until_stopped(*cleaner);
    return cleaner;
  }
  static bool is_taken(const std::string& name) {
    try {
      const shared_memory memory{10, {.name = name}};
      return false;
    } catch (const std::system_error& taken) {
      EXPECT_EQ(taken.code(), std::errc::file_exists);
      return true;
    }
  }

 private:
  // Before the first look at what is there.
  static inline const bool own_folder_ = has_own_folder("size=16m");
};

#if defined(TROUPE_FAILPOINTS) && TROUPE_FAILPOINTS

TEST_F(SharedMemoryNames, ANewOneSurvivesTheRemovalOfAnAbandonedOne) {
  const std::string name = unique("found");
  const auto slow = cleaner_stopped_at("blocks.abandoned", name);
  // Another process is faster: removes the old name, and makes a new one.
  detail::remove_abandoned_blocks();
  ASSERT_FALSE(exists(name));
  const shared_memory fresh{20, {.name = name}};
  slow->signal(SIGCONT);
  EXPECT_EQ(slow->wait(), 0);
  EXPECT_EQ(shared_memory::open(name).size(), 20U);
  EXPECT_TRUE(exists(name));
}

TEST_F(SharedMemoryNames, WhileOneIsRemovedNoOtherProcessRemovesOrMakesIt) {
  const std::string name = unique("removed");
  const auto slow = cleaner_stopped_at("blocks.remove", name);
  detail::remove_abandoned_blocks();
  EXPECT_TRUE(is_taken(name)) << "the one that is about to remove it would remove the new one";
  slow->signal(SIGCONT);
  EXPECT_EQ(slow->wait(), 0);
  EXPECT_FALSE(exists(name));
  EXPECT_FALSE(is_taken(name));
}

/// One process has the name all the time, another one opens it, and stops as it lets go.
struct let_go_beside_an_owner {
  explicit let_go_beside_an_owner(const std::string& name)
      : owner{[this, name] {
          const shared_memory memory{10, {.name = name}};
          made.reached();
          return test::sleep_until_killed();
        }} {
    made.await();
    detail::failpoint::arm("blocks.let_go", action::stop);
    letting_go = std::make_unique<forked>([name] {
      static_cast<void>(shared_memory::open(name));
      return 0;
    });
    int status = 0;
    EXPECT_EQ(::waitpid(letting_go->pid(), &status, WUNTRACED), letting_go->pid());
    EXPECT_TRUE(WIFSTOPPED(status));
  }
  signpost made;
  forked owner;
  std::unique_ptr<forked> letting_go;
};

TEST_F(SharedMemoryNames, OneThatLetsGoIsNotInTheWayOfThoseThatOpen) {
  const std::string name = unique("lets-go");
  let_go_beside_an_owner both{name};
  EXPECT_EQ(shared_memory::open(name).size(), 10U);
  both.letting_go->signal(SIGCONT);
  EXPECT_EQ(both.letting_go->wait(), 0);
  EXPECT_TRUE(exists(name));
  both.owner.kill();
  detail::remove_abandoned_blocks();
  EXPECT_FALSE(exists(name));
}

TEST_F(SharedMemoryNames, OneThatIsKilledAsItLetsGoLeavesTheNameUsable) {
  const std::string name = unique("killed-as-it-lets-go");
  let_go_beside_an_owner both{name};
  EXPECT_EQ(both.letting_go->kill(), 1000 + SIGKILL);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(shared_memory::open(name).size(), 10U);
  }
  EXPECT_TRUE(exists(name));
  both.owner.kill();
  detail::remove_abandoned_blocks();
  EXPECT_FALSE(exists(name));
}

TEST_F(SharedMemoryNames, OfTwoOwnersThatLetGoAtOnceOneRemovesIt) {
  const std::string name = unique("two");
  signpost made;
  signpost opened;
  signpost go;
  forked one{[&] {
    {
      const shared_memory memory{10, {.name = name}};
      made.reached();
      opened.await();
    }
    return 0;
  }};
  made.await();
  detail::failpoint::arm("blocks.let_go", action::stop);
  forked other{[&] {
    {
      const shared_memory memory = shared_memory::open(name);
      opened.reached();
      go.await();
    }
    return 0;
  }};
  wait_until_stopped(one);
  detail::failpoint::arm("blocks.remove", action::stop);
  go.reached();
  wait_until_stopped(other);
  // Now each has seen that the other one let go.
  one.signal(SIGCONT);
  EXPECT_EQ(one.wait(), 0);
  EXPECT_TRUE(is_taken(name)) << "the one that is about to remove it would remove the new one";
  other.signal(SIGCONT);
  EXPECT_EQ(other.wait(), 0);
  EXPECT_FALSE(exists(name));
}

TEST_F(SharedMemoryNames, AProcessThatIsKilledWhileItRemovesThemHoldsUpNoOther) {
  const std::string name = unique("killed");
  const auto slow = cleaner_stopped_at("blocks.remove", name);
  EXPECT_EQ(slow->kill(), 1000 + SIGKILL);
  detail::remove_abandoned_blocks();
  EXPECT_FALSE(exists(name));
}

#endif

TEST_F(SharedMemoryNames, MakersOpenersKilledOnesAndCleanersAgreeWhoseTheNameIs) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::minstd_rand random{seed};
  const std::string name = unique("many");
  // The process that makes the name owns it until it lets go: meanwhile no other can make it.
  auto* const makers = static_cast<std::atomic<int>*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(static_cast<void*>(makers), MAP_FAILED);
  std::atomic<int>& wrong = makers[1];
  for (int round = 0; round < 20; ++round) {
    const auto make = [&] {
      for (int i = 0; i < 100; ++i) {
        try {
          const shared_memory mine{64, {.name = name}};
          if (makers->fetch_add(1) != 0) {
            wrong.fetch_add(1);
          }
          try {
            if (shared_memory::open(name).id() != mine.id()) {
              wrong.fetch_add(1);
            }
          } catch (const std::system_error&) {
            wrong.fetch_add(1);  // its name went while it had it
          }
          makers->fetch_sub(1);
        } catch (const std::system_error&) {
        }
      }
      return 0;
    };
    forked one{make};
    forked other{make};
    forked cleaner{[] {
      for (int i = 0; i < 200; ++i) {
        detail::remove_abandoned_blocks();
      }
      return 0;
    }};
    EXPECT_EQ(one.wait(), 0);
    EXPECT_EQ(other.wait(), 0);
    EXPECT_EQ(cleaner.wait(), 0);
    // One that is killed with the name.
    abandon(name);
    forked opener{[&] {
      try {
        return shared_memory::open(name).size() == 10 ? 0 : 1;
      } catch (const std::system_error&) {
        return 0;
      }
    }};
    detail::remove_abandoned_blocks();
    EXPECT_EQ(opener.wait(), 0);
    detail::remove_abandoned_blocks();
    EXPECT_FALSE(exists(name));
  }
  EXPECT_EQ(wrong.load(), 0);
  ::munmap(makers, 4096);
}

// All objects of the process waited, and those of other threads with them.
TEST_F(SharedMemoryNames, WhileOneWaitsToOpenANameOthersMakeObjects) {
  const std::string name = unique("locked");
  signpost made;
  forked owner{[&] {
    const shared_memory memory{10, {.name = name}};
    made.reached();
    return test::sleep_until_killed();
  }};
  made.await();
  const std::filesystem::path file = "/dev/shm/" + name;
  const int locked = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(locked, 0);
  ASSERT_EQ(::flock(locked, LOCK_EX), 0);
  const auto opened_here = [&] {
    std::ptrdiff_t count = 0;
    for (const auto& one : std::filesystem::directory_iterator{"/proc/self/fd"}) {
      std::error_code gone;
      count += std::filesystem::read_symlink(one.path(), gone) == file ? 1 : 0;
    }
    return count;
  };
  auto opening = std::async(std::launch::async, [&] { return shared_memory::open(name).size(); });
  EXPECT_TRUE(test::eventually([&] { return opened_here() == 2; }));
  for (int i = 0; i < 100; ++i) {
    const mutex other;
    EXPECT_TRUE(other.try_lock());
    other.unlock();
  }
  EXPECT_EQ(opening.wait_for(std::chrono::seconds{0}), std::future_status::timeout);
  EXPECT_EQ(::flock(locked, LOCK_UN), 0);
  EXPECT_EQ(opening.get(), 10U);
  ::close(locked);
  owner.kill();
  detail::remove_abandoned_blocks();
}

TEST_F(SharedMemoryNames, AreFoundWhileAnOwnerLivesHoweverOftenOthersOpenAndLetGo) {
  const std::string name = unique("held");
  signpost made;
  forked owner{[&] {
    const shared_memory memory{10, {.name = name}};
    made.reached();
    return test::sleep_until_killed();
  }};
  made.await();
  const auto open_often = [&] {
    for (int i = 0; i < 2000; ++i) {
      if (shared_memory::open(name).size() != 10) {  // throws if it is missing
        return 1;
      }
    }
    return 0;
  };
  forked one{open_often};
  forked other{open_often};
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(other.wait(), 0);
  EXPECT_TRUE(exists(name));
  owner.kill();
  detail::remove_abandoned_blocks();
  EXPECT_FALSE(exists(name));
}

TEST_F(SharedMemoryNames, MoreThanTheFileSystemHasIsAnErrorAtCreation) {
  const std::string name = unique("large");
  forked other{[&] {
    if (!has_own_folder("size=1m")) {
      return 1;
    }
    try {
      const shared_memory memory{std::size_t{16} << 20, {.name = name}};
      return 2;
    } catch (const error& full) {
      const bool says = std::string{full.what()}.find("No space left") != std::string::npos;
      if (full.code() != errc::resource_exhausted || !says) {
        return 3;
      }
    }
    if (!std::filesystem::is_empty("/dev/shm")) {
      return 4;
    }
    const shared_memory small{std::size_t{64} << 10, {.name = name}};  // there is room for less
    small.bytes().back() = std::byte{1};
    return small.size() == std::size_t{64} << 10 ? 0 : 5;
  }};
  EXPECT_EQ(other.wait(), 0);
}

}  // namespace
}  // namespace troupe
