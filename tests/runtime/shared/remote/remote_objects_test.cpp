// SPDX-License-Identifier: BSD-3-Clause
// The same interface: every check runs on a handle of an object that is here, and on one that came
// to another machine.
#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/semaphore.hpp"

#include "both_places.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::eventually;

template <class Where>
class SharedObject : public test::both_places<Where> {};
TYPED_TEST_SUITE(SharedObject, test::places);

TYPED_TEST(SharedObject, HasTheNameAndTheIdOfTheObject) {
  const mutex original{{.name = "the lock"}};
  const mutex handle = this->to_importer(original);
  EXPECT_EQ(handle.id(), original.id());
  EXPECT_EQ(handle.name(), "the lock");
  EXPECT_TRUE(handle == this->to_importer(original));
  EXPECT_FALSE(handle == this->to_importer(mutex{}));
}

TYPED_TEST(SharedObject, AMutexExcludes) {
  mutex original;
  mutex handle = this->to_importer(original);
  long counter = 0;
  std::vector<std::unique_ptr<typename TestFixture::worker>> workers;
  for (int i = 0; i < 4; ++i) {
    workers.push_back(std::make_unique<typename TestFixture::worker>([&, mine = handle]() mutable {
      for (int n = 0; n < 50; ++n) {
        const std::lock_guard lock{mine};
        ++counter;
      }
    }));
  }
  for (int n = 0; n < 50; ++n) {
    const std::lock_guard lock{original};
    ++counter;
  }
  for (auto& one : workers) {
    one->join();
  }
  EXPECT_EQ(counter, 250);
}

TYPED_TEST(SharedObject, AMutexKnowsItsHolder) {
  mutex original;
  mutex handle = this->to_importer(original);
  handle.lock();
  EXPECT_FALSE(handle.inherited());
  EXPECT_FALSE(handle.try_lock());
  EXPECT_FALSE(handle.try_lock_for(1ms));
  EXPECT_THROW(handle.lock(), std::system_error);
  try {
    handle.lock();
    FAIL() << "it was locked twice";
  } catch (const std::system_error& why) {
    EXPECT_EQ(why.code(), std::errc::resource_deadlock_would_occur);
  }
  typename TestFixture::worker{[&] {
    EXPECT_FALSE(original.try_lock());
    EXPECT_THROW(original.unlock(), std::system_error);
    EXPECT_THROW(handle.unlock(), std::system_error);
    EXPECT_FALSE(handle.try_lock_for(1ms));
  }}.join();
  handle.unlock();
  EXPECT_TRUE(original.try_lock());
  original.unlock();
  EXPECT_TRUE(handle.try_lock_until(std::chrono::system_clock::now() + 1h));
  handle.unlock();
  EXPECT_THROW(handle.unlock(), std::system_error);
}

TYPED_TEST(SharedObject, AThreadThatEndsWithAMutexLeavesItToTheNext) {
  mutex original;
  mutex handle = this->to_importer(original);
  typename TestFixture::worker{[&] { handle.lock(); }}.join();
  handle.lock();
  EXPECT_TRUE(handle.inherited());
  handle.recovered();
  EXPECT_FALSE(handle.inherited());
  handle.unlock();
}

TYPED_TEST(SharedObject, ARecursiveMutexCountsItsLevels) {
  recursive_mutex original;
  recursive_mutex handle = this->to_importer(original);
  handle.lock();
  EXPECT_TRUE(handle.try_lock());
  EXPECT_TRUE(handle.try_lock_for(1h));
  const auto is_free = [&] {
    bool free = false;
    typename TestFixture::worker{[&] {
      free = original.try_lock();
      if (free) {
        original.unlock();
      }
    }}.join();
    return free;
  };
  handle.unlock();
  handle.unlock();
  EXPECT_FALSE(is_free());
  handle.unlock();
  EXPECT_TRUE(is_free());
}

TYPED_TEST(SharedObject, ASemaphoreHasPermits) {
  semaphore original{2};
  semaphore handle = this->to_importer(original);
  EXPECT_EQ(handle.value(), 2);
  handle.acquire();
  EXPECT_TRUE(handle.try_acquire());
  EXPECT_FALSE(handle.try_acquire());
  EXPECT_FALSE(handle.try_acquire_for(1ms));
  typename TestFixture::worker waiting{[&] { handle.acquire(); }};
  EXPECT_TRUE(this->come_to_wait(original, 1));
  original.release();
  waiting.join();
  handle.release(3);
  EXPECT_EQ(original.value(), 3);
  EXPECT_THROW(handle.release(0), std::invalid_argument);

  bounded_semaphore bounded = this->to_importer(bounded_semaphore{1});
  EXPECT_THROW(bounded.release(), std::logic_error);
  bounded.acquire();
  bounded.release();
}

TYPED_TEST(SharedObject, AnEventWakesWaitingThreads) {
  event original;
  event handle = this->to_importer(original);
  EXPECT_FALSE(handle.is_set());
  EXPECT_FALSE(handle.wait_for(1ms));
  typename TestFixture::worker waiting{[&] { handle.wait(); }};
  EXPECT_TRUE(this->come_to_wait(original, 1));
  original.set();
  original.clear();
  waiting.join();
  handle.set();
  EXPECT_TRUE(original.is_set());
  EXPECT_TRUE(handle.wait_for(0s));
  handle.clear();
  EXPECT_FALSE(original.is_set());
}

TYPED_TEST(SharedObject, AConditionWaitsWithItsMutex) {
  const std::pair<mutex, condition> original;
  auto [lock, changed] = this->to_importer(original);
  int value = 0;
  typename TestFixture::worker waiting{[&, own_lock = lock, own_changed = changed]() mutable {
    std::unique_lock held{own_lock};
    own_changed.wait(held, [&] { return value == 1; });
    EXPECT_TRUE(held.owns_lock());
    value = 2;
  }};
  EXPECT_TRUE(eventually([&] { return changed.waiting() == 1; }));
  {
    const std::lock_guard held{lock};
    value = 1;
    changed.notify_one();
  }
  waiting.join();
  EXPECT_EQ(value, 2);
  const std::lock_guard held{lock};
  EXPECT_EQ(changed.wait_for(lock, 1ms), std::cv_status::timeout);
  EXPECT_THROW(changed.notify(-1), std::invalid_argument);
  EXPECT_EQ(changed.waiting(), 0U);
}

TYPED_TEST(SharedObject, AConditionNeedsItsMutexLocked) {
  auto [lock, changed] = this->to_importer(std::pair<recursive_mutex, condition>{});
  EXPECT_THROW(changed.wait(lock), std::system_error);
  lock.lock();
  lock.lock();
  EXPECT_EQ(changed.wait_for(lock, 0s), std::cv_status::timeout);
  lock.unlock();
  lock.unlock();
  EXPECT_THROW(lock.unlock(), std::system_error);
}

std::atomic<int> actions{0};
void count_action() {
  ++actions;
}
void throw_in_action() {
  throw std::out_of_range{"of the action"};
}

TYPED_TEST(SharedObject, ABarrierLetsAllGoOnTogether) {
  actions = 0;
  barrier original{2, count_action};
  barrier handle = this->to_importer(original);
  EXPECT_EQ(handle.parties(), 2U);
  std::size_t mine = 0;
  std::size_t others = 0;
  for (int round = 0; round < 20; ++round) {
    typename TestFixture::worker other{[&] { others += original.arrive_and_wait(); }};
    mine += handle.arrive_and_wait();
    other.join();
  }
  EXPECT_EQ(mine + others, 20U);
  EXPECT_EQ(actions, 20);
  EXPECT_EQ(handle.waiting(), 0U);
  EXPECT_THROW(handle.arrive_and_wait_for(1ms), broken_barrier);
  EXPECT_TRUE(handle.broken());
  EXPECT_THROW(handle.arrive_and_wait(), broken_barrier);
  handle.reset();
  EXPECT_FALSE(handle.broken());
  handle.abort();
  EXPECT_TRUE(original.broken());
}

TYPED_TEST(SharedObject, ABarriersActionRunsInTheThreadThatCameLast) {
  const barrier original{2, throw_in_action};
  barrier handle = this->to_importer(original);
  typename TestFixture::worker first{
      [&] { EXPECT_THROW(handle.arrive_and_wait(), broken_barrier); }};
  EXPECT_TRUE(eventually([&] { return original.waiting() == 1; }));
  EXPECT_THROW(handle.arrive_and_wait(), std::out_of_range);
  first.join();
  EXPECT_TRUE(original.broken());
}

}  // namespace
}  // namespace troupe
