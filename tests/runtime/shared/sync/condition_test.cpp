// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/condition.hpp"

#include "troupe/event.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/value.hpp"

#include "runtime/shared/crossing_handles.hpp"
#include "runtime/shared/shared_fixture.hpp"
#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::crossed;
using test::eventually;
using test::fails_with;
using test::forked;

class Condition : public test::shared_objects {
 protected:
  /// A process that waits once, and says so when it is awake.
  std::unique_ptr<forked> waiting_process() {
    return std::make_unique<forked>([this] {
      std::unique_lock lock{mutex_};
      condition_.wait(lock);
      awake_.fetch_add(1);
      return 0;
    });
  }
  bool waiting(std::size_t count) {
    return eventually([&] { return condition_.waiting() == count; });
  }
  bool awake(int count) {
    return eventually([&] { return awake_.load() == count; });
  }

  mutex mutex_;
  condition condition_;
  value<int> awake_;
};

TEST_F(Condition, WaitsUntilNotifiedWithTheMutexFreeMeanwhile) {
  const auto waiter = waiting_process();
  ASSERT_TRUE(waiting(1));
  {
    const std::lock_guard lock{mutex_};  // the waiter does not have it
    condition_.notify_one();
    EXPECT_EQ(awake_.load(), 0) << "it went on without the mutex";
  }
  EXPECT_EQ(waiter->wait(), 0);
  EXPECT_EQ(awake_.load(), 1);
}

TEST_F(Condition, MoreThanAThousandThreadsCannotWait) {
  std::vector<std::jthread> all;
  for (int i = 0; i < 1000; ++i) {
    all.emplace_back([this] {
      std::unique_lock lock{mutex_};
      condition_.wait(lock);
    });
  }
  ASSERT_TRUE(waiting(1000));
  std::unique_lock lock{mutex_};
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return condition_.wait(lock), 0; }));
  EXPECT_THROW(mutex_.lock(), std::system_error) << "the thread has the mutex as before";
  lock.unlock();
  condition_.notify_all();
  all.clear();
  lock.lock();
  EXPECT_EQ(condition_.wait_for(lock, 1ms), std::cv_status::timeout) << "there is room again";
}

TEST_F(Condition, WaitsForAPredicate) {
  value<int> step{0};
  forked other{[&] {
    std::unique_lock lock{mutex_};
    condition_.wait(lock, [&] { return step.load() == 3; });
    step.store(4);
    condition_.notify_all();
    return 0;
  }};
  for (int i = 1; i <= 3; ++i) {
    const std::lock_guard lock{mutex_};
    step.store(i);
    condition_.notify_one();
  }
  std::unique_lock lock{mutex_};
  EXPECT_TRUE(
      condition_.wait_for(lock, test::eventually_deadline, [&] { return step.load() == 4; }));
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(other.wait(), 0);
}

TEST_F(Condition, GivesUpAfterItsTimeAndNoSoonerWithTheMutexLocked) {
  std::unique_lock lock{mutex_};
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_EQ(condition_.wait_for(lock, 70ms), std::cv_status::timeout);
  EXPECT_EQ(condition_.wait_until(lock, begun + 140ms), std::cv_status::timeout);
  EXPECT_EQ(condition_.wait_until(lock, std::chrono::system_clock::now() + 70ms),
            std::cv_status::timeout);
  EXPECT_FALSE(condition_.wait_for(lock, 10ms, [] { return false; }));
  EXPECT_FALSE(condition_.wait_until(lock, begun, [] { return false; }));
  EXPECT_TRUE(condition_.wait_for(lock, -1s, [] { return true; }));
  EXPECT_EQ(condition_.wait_for(lock, -1s), std::cv_status::timeout);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 210ms);
  EXPECT_FALSE(mutex_.try_lock()) << "it is this thread's again";
  EXPECT_EQ(condition_.waiting(), 0U);
}

TEST_F(Condition, NotifiesAsManyAsItIsToldAndNoStaleOnes) {
  for (int i = 0; i < 6; ++i) {  // time out first: they must not use up what comes later
    std::unique_lock lock{mutex_};
    ASSERT_EQ(condition_.wait_for(lock, 1ms), std::cv_status::timeout);
  }
  std::vector<std::unique_ptr<forked>> processes;
  for (int i = 0; i < 3; ++i) {
    processes.push_back(waiting_process());
  }
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([this] {
      std::unique_lock lock{mutex_};
      condition_.wait(lock);
      awake_.fetch_add(1);
    });
  }
  ASSERT_TRUE(waiting(6));
  condition_.notify(0);
  EXPECT_EQ(condition_.waiting(), 6U);
  condition_.notify(2);
  EXPECT_TRUE(awake(2));
  EXPECT_EQ(condition_.waiting(), 4U);
  condition_.notify(4);
  EXPECT_TRUE(awake(6));
  condition_.notify(3);
  for (const auto& process : processes) {
    EXPECT_EQ(process->wait(), 0);
  }
  threads.clear();
  EXPECT_EQ(awake_.load(), 6);
  std::unique_lock lock{mutex_};
  EXPECT_EQ(condition_.wait_for(lock, 1ms), std::cv_status::timeout)
      << "a notification without a waiting thread was kept";
}

TEST_F(Condition, NotifyAllWakesAll) {
  std::vector<std::unique_ptr<forked>> processes;
  for (int i = 0; i < 5; ++i) {
    processes.push_back(waiting_process());
  }
  ASSERT_TRUE(waiting(5));
  condition_.notify_all();
  for (const auto& process : processes) {
    EXPECT_EQ(process->wait(), 0);
  }
}

TEST_F(Condition, TheLongestWaiterIsNotifiedFirst) {
  value<int> first{0};
  const auto wait = [&](int number) {
    return std::make_unique<forked>([&, number] {
      std::unique_lock lock{mutex_};
      condition_.wait(lock);
      int none = 0;
      first.compare_exchange(none, number);
      return 0;
    });
  };
  const auto one = wait(1);
  ASSERT_TRUE(waiting(1));
  const auto two = wait(2);
  ASSERT_TRUE(waiting(2));
  condition_.notify_one();
  EXPECT_EQ(one->wait(), 0);
  EXPECT_EQ(first.load(), 1);
  condition_.notify_one();
  EXPECT_EQ(two->wait(), 0);
}

TEST_F(Condition, ReleasesARecursiveMutexWholeAndGivesItsLevelsBack) {
  recursive_mutex recursive;
  forked waiter{[&] {
    recursive.lock();
    recursive.lock();
    recursive.lock();
    condition_.wait(recursive);
    recursive.unlock();
    recursive.unlock();
    recursive.unlock();
    try {
      recursive.unlock();
    } catch (const std::system_error&) {
      return 0;
    }
    return 1;
  }};
  ASSERT_TRUE(waiting(1));
  EXPECT_TRUE(recursive.try_lock());
  recursive.unlock();
  condition_.notify_one();
  EXPECT_EQ(waiter.wait(), 0);
}

TEST_F(Condition, WantsTheMutexLocked) {
  std::unique_lock lock{mutex_, std::defer_lock};
  EXPECT_THROW(condition_.wait(lock), std::system_error);
  EXPECT_THROW(condition_.wait(mutex_), std::system_error);
  EXPECT_THROW(condition_.notify(-1), std::invalid_argument);
  EXPECT_EQ(condition_.waiting(), 0U);
}

TEST_F(Condition, AKilledWaitersNotificationGoesToTheNext) {
  for (int i = 0; i < 10; ++i) {
    const int before = awake_.load();
    const auto victim = waiting_process();
    ASSERT_TRUE(waiting(1));
    const auto survivor = waiting_process();
    ASSERT_TRUE(waiting(2));
    {
      // It is notified and cannot return before the mutex is free: there it dies.
      const std::lock_guard lock{mutex_};
      condition_.notify_one();
      ASSERT_EQ(condition_.waiting(), 1U);
      victim->kill();
    }
    ASSERT_EQ(survivor->wait(), 0) << i;
    ASSERT_EQ(awake_.load(), before + 1);
  }
}

TEST_F(Condition, AKilledWaiterWithoutANotificationIsForgotten) {
  for (int i = 0; i < 20; ++i) {
    const auto victim = waiting_process();
    ASSERT_TRUE(waiting(1));
    victim->kill();
    detail::recover_objects_of_dead();
    ASSERT_EQ(condition_.waiting(), 0U);
    ASSERT_EQ(info_of(condition_.id()).waiters, 0U);
  }
  condition_.notify_all();
}

TEST_F(Condition, WorksBetweenManyThreads) {
  mutex m;
  condition turn;
  int whose = 0;
  constexpr int threads = 4;
  constexpr int rounds = 100;
  {
    std::vector<std::jthread> running;
    for (int t = 0; t < threads; ++t) {
      running.emplace_back([&, t] {
        for (int i = 0; i < rounds; ++i) {
          std::unique_lock lock{m};
          turn.wait(lock, [&] { return whose % threads == t; });
          ++whose;
          turn.notify_all();
        }
      });
    }
  }
  EXPECT_EQ(whose, threads * rounds);
}

TEST_F(Condition, Crosses) {
  condition arrived = crossed(condition_);
  EXPECT_EQ(arrived, condition_);
  const auto waiter = waiting_process();
  ASSERT_TRUE(waiting(1));
  arrived.notify_all();
  EXPECT_EQ(waiter->wait(), 0);
}

}  // namespace
}  // namespace troupe
