// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/mutex.hpp"

#include "troupe/value.hpp"

#include "runtime/shared/crossing_handles.hpp"
#include "runtime/shared/shared_fixture.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::crossed;
using test::forked;
using test::signpost;

class Mutex : public test::shared_objects {};
class RecursiveMutex : public test::shared_objects {};

template <class Call>
testing::AssertionResult fails_with(std::errc code, Call call) {
  try {
    call();
  } catch (const std::system_error& thrown) {
    if (thrown.code() == code) {
      return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << "threw " << thrown.what();
  }
  return testing::AssertionFailure() << "threw nothing";
}

template <class M>
bool others_can_lock(M& lock) {
  bool got = false;
  std::thread{[&] {
    got = lock.try_lock();
    if (got) {
      lock.unlock();
    }
  }}.join();
  return got;
}

TEST_F(Mutex, ExcludesOthersUntilUnlocked) {
  mutex m;
  m.lock();
  EXPECT_FALSE(others_can_lock(m));
  m.unlock();
  EXPECT_TRUE(others_can_lock(m));
}

TEST_F(Mutex, TheSecondLockOfAThreadIsADeadlockThatIsTold) {
  mutex m;
  m.lock();
  EXPECT_TRUE(fails_with(std::errc::resource_deadlock_would_occur, [&] { m.lock(); }));
  EXPECT_FALSE(m.try_lock());
  EXPECT_FALSE(m.try_lock_for(0s));
  m.unlock();
  EXPECT_TRUE(others_can_lock(m));
}

TEST_F(Mutex, OnlyItsHolderUnlocksIt) {
  mutex m;
  EXPECT_TRUE(fails_with(std::errc::operation_not_permitted, [&] { m.unlock(); }));
  m.lock();
  std::thread{[&] {
    EXPECT_TRUE(fails_with(std::errc::operation_not_permitted, [&] { m.unlock(); }));
  }}.join();
  forked stranger{
      [&] { return fails_with(std::errc::operation_not_permitted, [&] { m.unlock(); }) ? 0 : 1; }};
  EXPECT_EQ(stranger.wait(), 0) << "a forked child is a stranger to its parent's locks";
  EXPECT_FALSE(others_can_lock(m));
  m.unlock();
}

TEST_F(Mutex, WaitsAsLongAsItWasToldAndNoShorter) {
  mutex m;
  m.lock();
  forked other{[&] {
    const auto begun = std::chrono::steady_clock::now();
    const bool got = m.try_lock_for(120ms) || m.try_lock_until(begun) ||
                     m.try_lock_until(std::chrono::system_clock::now() + 120ms);
    return !got && std::chrono::steady_clock::now() - begun >= 240ms ? 0 : 1;
  }};
  EXPECT_EQ(other.wait(), 0);
  m.unlock();
}

TEST_F(Mutex, NegativeAndEndlessTimeoutsAreFine) {
  mutex m;
  EXPECT_TRUE(m.try_lock_for(-5s));
  m.unlock();
  EXPECT_TRUE(m.try_lock_for(std::chrono::hours::max()));
  m.unlock();
  EXPECT_TRUE(m.try_lock_until(std::chrono::system_clock::time_point::max()));
  m.unlock();
  EXPECT_TRUE(m.try_lock_until(std::chrono::steady_clock::time_point::max()));
  m.unlock();
  EXPECT_TRUE(m.try_lock_until(std::chrono::steady_clock::time_point::min()));
  m.unlock();
}

TEST_F(Mutex, WorksWithTheStandardGuards) {
  mutex a;
  mutex b;
  {
    const std::scoped_lock both{a, b};
    EXPECT_FALSE(others_can_lock(a));
    EXPECT_FALSE(others_can_lock(b));
  }
  {
    std::unique_lock lock{a, std::defer_lock};
    EXPECT_TRUE(lock.try_lock_for(1s));
    lock.unlock();
    lock.lock();
  }
  {
    const std::lock_guard lock{a};
  }
  EXPECT_TRUE(others_can_lock(a));
}

TEST_F(Mutex, IsTheSameInEveryCopyAndAfterCrossing) {
  mutex m;
  mutex copy = m;
  mutex arrived = crossed(m);
  arrived.lock();
  EXPECT_FALSE(others_can_lock(m));
  copy.unlock();
  EXPECT_EQ(copy, m);
  EXPECT_EQ(arrived, m);
  EXPECT_NE(mutex{}, m);
}

TEST_F(Mutex, CountsRightBetweenProcesses) {
  mutex m;
  raw_value<int> count;
  const auto add = [&] {
    for (int i = 0; i < 3000; ++i) {
      const std::lock_guard lock{m};
      ++*count;
    }
    return 0;
  };
  forked one{add};
  forked two{add};
  add();
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(two.wait(), 0);
  EXPECT_EQ(*count, 9000);
}

TEST_F(Mutex, CountsRightBetweenThreads) {
  mutex m;
  int count = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([m, &count]() mutable {
        for (int i = 0; i < 1000; ++i) {
          const std::lock_guard lock{m};
          ++count;
        }
      });
    }
  }
  EXPECT_EQ(count, 4000);
}

TEST_F(Mutex, GoesToTheNextWhenItsHolderIsKilled) {
  mutex m;
  signpost locked;
  forked holder{[&] {
    m.lock();
    locked.reached();
    return test::sleep_until_killed();
  }};
  locked.await();
  EXPECT_FALSE(m.try_lock());
  EXPECT_FALSE(m.inherited());
  holder.signal(SIGKILL);  // while this thread waits
  m.lock();
  EXPECT_TRUE(m.inherited());
  m.unlock();
  m.lock();
  EXPECT_TRUE(m.inherited()) << "until recovered() is called";
  m.recovered();
  EXPECT_FALSE(m.inherited());
  m.unlock();
  m.lock();
  EXPECT_FALSE(m.inherited());
  m.unlock();
}

TEST_F(Mutex, AStoppedHolderKeepsItUntilItDies) {
  mutex m;
  signpost locked;
  forked holder{[&] {
    m.lock();
    locked.reached();
    return test::sleep_until_killed();
  }};
  locked.await();
  holder.signal(SIGSTOP);
  EXPECT_FALSE(m.try_lock_for(60ms));
  holder.signal(SIGKILL);
  EXPECT_TRUE(m.try_lock_for(test::eventually_deadline));
  EXPECT_TRUE(m.inherited());
  m.unlock();
}

TEST_F(Mutex, AThreadThatEndsWithItIsADeadHolderToo) {
  mutex m;
  std::thread{[&] { m.lock(); }}.join();
  EXPECT_TRUE(m.try_lock());
  EXPECT_TRUE(m.inherited());
  m.unlock();
}

TEST_F(Mutex, ManyHoldersInARowMayDie) {
  mutex m;
  for (int i = 0; i < 50; ++i) {
    forked holder{[&] {
      m.lock();
      return m.inherited() == (i > 0) ? 0 : 1;
    }};
    ASSERT_EQ(holder.wait(), 0) << i;
  }
  EXPECT_TRUE(m.try_lock());
  m.unlock();
}

TEST_F(Mutex, WaitersOfADeadHolderAllGetIt) {
  mutex m;
  signpost locked;
  auto holder = std::make_unique<forked>([&]() -> int {
    m.lock();
    locked.reached();
    return test::sleep_until_killed();
  });
  locked.await();
  const auto wait = [&] {
    m.lock();
    m.unlock();
    return 0;
  };
  forked one{wait};
  forked two{wait};
  forked three{wait};
  EXPECT_TRUE(come_to_wait(m, 3));
  two.kill();
  holder->kill();
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(three.wait(), 0);
}

TEST_F(Mutex, TheLastHandleMayGoWhileItIsLocked) {
  for (int i = 0; i < 3; ++i) {
    auto m = std::make_unique<mutex>();
    m->lock();
    mutex other;
    other.lock();
    m.reset();
    other.unlock();  // the C library links a thread's robust locks: the chain must still hold
    other.lock();
    other.unlock();
  }
  take_baseline();  // their memory stays, on purpose
}

TEST_F(RecursiveMutex, IsFreeAfterAsManyUnlocks) {
  recursive_mutex m;
  m.lock();
  EXPECT_TRUE(m.try_lock());
  EXPECT_TRUE(m.try_lock_for(0s));
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(others_can_lock(m));
    m.unlock();
  }
  EXPECT_TRUE(others_can_lock(m));
  EXPECT_TRUE(fails_with(std::errc::operation_not_permitted, [&] { m.unlock(); }));
}

TEST_F(RecursiveMutex, OthersWaitAndGiveUp) {
  recursive_mutex m;
  m.lock();
  forked other{[&] { return !m.try_lock() && !m.try_lock_for(30ms) ? 0 : 1; }};
  EXPECT_EQ(other.wait(), 0);
  m.unlock();
}

TEST_F(RecursiveMutex, ADeadHoldersLevelsAreGone) {
  recursive_mutex m;
  forked holder{[&] {
    m.lock();
    m.lock();
    m.lock();
    return 0;
  }};
  EXPECT_EQ(holder.wait(), 0);
  m.lock();
  EXPECT_TRUE(m.inherited());
  m.recovered();
  m.unlock();
  EXPECT_TRUE(others_can_lock(m)) << "one lock, one unlock";
  EXPECT_FALSE(m.inherited());
}

TEST_F(RecursiveMutex, Crosses) {
  recursive_mutex m;
  recursive_mutex arrived = crossed(m);
  m.lock();
  arrived.lock();
  m.unlock();
  EXPECT_FALSE(others_can_lock(m));
  arrived.unlock();
  EXPECT_TRUE(others_can_lock(m));
}

}  // namespace
}  // namespace troupe
