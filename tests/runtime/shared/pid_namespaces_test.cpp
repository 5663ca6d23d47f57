// SPDX-License-Identifier: BSD-3-Clause
// Processes of several PID namespaces that have the same object, as containers do which share a
// socket or /dev/shm. They do not see each other, and the same numbers are other processes there.
// Only root can make such a namespace here, so these tests are skipped for other users.
#include "troupe/mutex.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/shared_memory.hpp"

#include "runtime/shared/shared_fixture.hpp"
#include "support/unique_name.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <system_error>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::forked;
using test::signpost;

/// For children: they could not have a namespace.
constexpr int not_permitted = 77;
/// For children: a process there did not get the number it should have.
constexpr int no_such_number = 78;

/// Runs `body` as the first process of a new PID namespace. /proc stays the one of this namespace.
int in_new_namespace(const std::function<int()>& body) {
  forked maker{[&] {
    if (::unshare(CLONE_NEWPID) != 0) {
      return not_permitted;
    }
    forked first{body};
    return first.wait();
  }};
  return maker.wait();
}

/// Runs `body` in a child with this number, in a namespace of few processes.
int with_number(pid_t number, const std::function<int()>& body) {
  std::ofstream{"/proc/sys/kernel/ns_last_pid"} << number - 1 << std::flush;
  forked child{[&] { return ::getpid() == number ? body() : no_such_number; }};
  return child.wait();
}

/// No process here has it, as long as the numbers do not come round.
pid_t number_of_no_process() {
  forked gone{[] { return 0; }};
  gone.wait();
  return gone.pid();
}

class PidNamespaces : public test::shared_objects {
 protected:
  void SetUp() override {
    constexpr pid_t number = 4711;
    if (in_new_namespace([] { return with_number(number, [] { return 0; }); }) != 0) {
      GTEST_SKIP() << "this process may not make a PID namespace";
    }
  }

  static std::string unique(const std::string& name) {
    return test::unique_name("namespaces-" + name);
  }
  static bool exists(const std::string& name) {
    return ::access(("/dev/shm/" + name).c_str(), F_OK) == 0;
  }
};

TEST_F(PidNamespaces, AHolderOutsideIsNotTakenForDead) {
  semaphore permits{1};
  permits.acquire();
  const int there = in_new_namespace([&] {
    detail::recover_objects_of_dead();
    return permits.try_acquire() ? 1 : 0;
  });
  EXPECT_EQ(there, 0) << "a permit that is held was given back";
  EXPECT_FALSE(permits.try_acquire());
}

TEST_F(PidNamespaces, AHolderInsideIsNotTakenForDead) {
  semaphore permits{1};
  signpost taken;
  signpost seen;
  const pid_t number = number_of_no_process();
  const forked container{[&] {
    return in_new_namespace([&] {
      return with_number(number, [&] {
        permits.acquire();
        taken.reached();
        seen.await();
        return 0;
      });
    });
  }};
  taken.await();
  detail::recover_objects_of_dead();
  detail::recover_objects_of_dead(static_cast<std::uint32_t>(number));
  EXPECT_FALSE(permits.try_acquire()) << "a permit that is held was given back";
  seen.reached();
}

TEST_F(PidNamespaces, TheDeadOfTheOwnNamespaceAreFoundThere) {
  semaphore permits{1};
  const int there = in_new_namespace([&] {
    forked holder{[&]() -> int {
      permits.acquire();
      ::kill(::getpid(), SIGKILL);
      return 0;
    }};
    if (holder.wait() != 1000 + SIGKILL) {
      return 2;
    }
    detail::recover_objects_of_dead();
    return permits.try_acquire() ? 0 : 1;
  });
  EXPECT_EQ(there, 0) << "what a dead process held was not given back";
}

TEST_F(PidNamespaces, AProcFolderOfAnotherNamespaceSaysNothing) {
  semaphore permits{1};
  forked dead{test::sleep_until_killed};
  dead.kill_without_reaping();  // a zombie in the /proc that is seen inside
  const int there = in_new_namespace([&] {
    return with_number(dead.pid(), [&] {
      permits.acquire();
      forked looks{[&] {
        detail::recover_objects_of_dead();
        return permits.try_acquire() ? 1 : 0;
      }};
      return looks.wait();
    });
  });
  EXPECT_EQ(there, 0) << "a living holder was taken for the process with its number outside";
}

/// Has memory with that name until it is told to let go.
int own(const std::string& name, const signpost& has_it, const signpost& may_go) {
  const shared_memory memory{64, {.name = name}};
  has_it.reached();
  may_go.await();
  return 0;
}

TEST_F(PidNamespaces, ANameStaysWhileItsOwnerOutsideLives) {
  const std::string name = unique("outside");
  signpost made;
  signpost seen;
  forked owner{[&] { return own(name, made, seen); }};
  made.await();
  const int there = in_new_namespace([&] {
    detail::remove_abandoned_blocks();
    if (!exists(name)) {
      return 1;
    }
    // One more owner that lets go is not the last one.
    static_cast<void>(shared_memory::open(name));
    return exists(name) ? 0 : 2;
  });
  EXPECT_EQ(there, 0);
  EXPECT_TRUE(exists(name));
  seen.reached();
  EXPECT_EQ(owner.wait(), 0);
  EXPECT_FALSE(exists(name));
}

TEST_F(PidNamespaces, ANameStaysWhileItsOwnerInsideLives) {
  const std::string name = unique("inside");
  signpost made;
  signpost seen;
  forked container{[&, number = number_of_no_process()] {
    return in_new_namespace(
        [&] { return with_number(number, [&] { return own(name, made, seen); }); });
  }};
  made.await();
  detail::remove_abandoned_blocks();
  EXPECT_TRUE(exists(name));
  EXPECT_EQ(shared_memory::open(name).size(), 64U);
  EXPECT_TRUE(exists(name)) << "one more owner let go, and was not the last one";
  seen.reached();
  EXPECT_EQ(container.wait(), 0);
  EXPECT_FALSE(exists(name)) << "its last owner was gone";
}

TEST_F(PidNamespaces, TheNameOfANamespaceThatHasEndedIsAbandoned) {
  const std::string name = unique("ended");
  const int there = in_new_namespace([&]() -> int {
    const shared_memory memory{64, {.name = name}};
    ::_exit(0);  // without a word, and all that could look for it there has ended, too
  });
  EXPECT_EQ(there, 0);
  EXPECT_TRUE(exists(name));
  detail::remove_abandoned_blocks();
  EXPECT_FALSE(exists(name));
}

TEST_F(PidNamespaces, TheLastOwnerOutsideRemovesTheNameAfterANamespaceHasEnded) {
  const std::string name = unique("last");
  signpost made;
  signpost seen;
  forked owner{[&] { return own(name, made, seen); }};
  made.await();
  const int there = in_new_namespace([&]() -> int {
    const shared_memory memory = shared_memory::open(name);
    ::_exit(0);
  });
  EXPECT_EQ(there, 0);
  EXPECT_TRUE(exists(name));
  seen.reached();
  EXPECT_EQ(owner.wait(), 0);
  EXPECT_FALSE(exists(name));
}

TEST_F(PidNamespaces, AnotherThreadWithTheSameNumberDoesNotHaveTheLock) {
  mutex plain;
  recursive_mutex recursive;
  plain.lock();
  recursive.lock();
  const int there = in_new_namespace([&, number = ::gettid()] {
    return with_number(number, [&] {
      if (plain.try_lock() || plain.try_lock_for(1ms) || recursive.try_lock()) {
        return 1;
      }
      try {
        recursive.unlock();
        return 2;
      } catch (const std::system_error& refused) {
        return refused.code() == std::errc::operation_not_permitted ? 0 : 3;
      }
    });
  });
  EXPECT_EQ(there, 0);
  plain.unlock();
  recursive.unlock();
}

}  // namespace
}  // namespace troupe
