// SPDX-License-Identifier: BSD-3-Clause
// The same interface: every check runs on a handle of an object that is here, and on one that came
// to another machine.
#include "troupe/array.hpp"
#include "troupe/barrier.hpp"
#include "troupe/condition.hpp"
#include "troupe/event.hpp"
#include "troupe/mutex.hpp"
#include "troupe/queue.hpp"
#include "troupe/semaphore.hpp"
#include "troupe/value.hpp"

#include "link_double.hpp"
#include "shared_fixture.hpp"
#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::fails_with;

struct here {
  template <class T>
  T operator()(const T& handle) {
    return handle;
  }
};

struct on_another_machine {
  test::link_double link;
  template <class T>
  T operator()(const T& handle) {
    return link.lend(handle);
  }
};

template <class Where>
class SharedObject : public test::shared_objects {
 protected:
  Where lend;

  /// Runs in a thread of its own; the exception of one is rethrown by `join`.
  class worker {
   public:
    explicit worker(std::function<void()> body)
        : thread_{[this, run = std::move(body)] {
            try {
              run();
            } catch (...) {  // for join
              thrown_ = std::current_exception();
            }
          }} {}
    void join() {
      thread_.join();
      if (thrown_ != nullptr) {
        std::rethrow_exception(thrown_);
      }
    }

   private:
    std::exception_ptr thrown_;
    std::thread thread_;
  };
};

using Places = testing::Types<here, on_another_machine>;
TYPED_TEST_SUITE(SharedObject, Places);

TYPED_TEST(SharedObject, HasTheNameAndTheIdOfTheObject) {
  const mutex original{{.name = "the lock"}};
  const mutex handle = this->lend(original);
  EXPECT_EQ(handle.id(), original.id());
  EXPECT_EQ(handle.name(), "the lock");
  EXPECT_TRUE(handle == this->lend(original));
  EXPECT_FALSE(handle == this->lend(mutex{}));
}

TYPED_TEST(SharedObject, AMutexExcludes) {
  mutex original;
  mutex handle = this->lend(original);
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
  mutex handle = this->lend(original);
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
  mutex handle = this->lend(original);
  typename TestFixture::worker{[&] { handle.lock(); }}.join();
  handle.lock();
  EXPECT_TRUE(handle.inherited());
  handle.recovered();
  EXPECT_FALSE(handle.inherited());
  handle.unlock();
}

TYPED_TEST(SharedObject, ARecursiveMutexCountsItsLevels) {
  recursive_mutex original;
  recursive_mutex handle = this->lend(original);
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
  semaphore handle = this->lend(original);
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

  bounded_semaphore bounded = this->lend(bounded_semaphore{1});
  EXPECT_THROW(bounded.release(), std::logic_error);
  bounded.acquire();
  bounded.release();
}

TYPED_TEST(SharedObject, AnEventWakesWhoWaits) {
  event original;
  event handle = this->lend(original);
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
  auto [lock, changed] = this->lend(original);
  int value = 0;
  typename TestFixture::worker waiting{[&, lock = lock, changed = changed]() mutable {
    std::unique_lock held{lock};
    changed.wait(held, [&] { return value == 1; });
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
  auto [lock, changed] = this->lend(std::pair<recursive_mutex, condition>{});
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
  barrier handle = this->lend(original);
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
  barrier handle = this->lend(original);
  typename TestFixture::worker first{
      [&] { EXPECT_THROW(handle.arrive_and_wait(), broken_barrier); }};
  EXPECT_TRUE(eventually([&] { return original.waiting() == 1; }));
  EXPECT_THROW(handle.arrive_and_wait(), std::out_of_range);
  first.join();
  EXPECT_TRUE(original.broken());
}

struct small {
  std::uint16_t a = 0, b = 0;
  bool operator==(const small&) const = default;
};
struct large {
  std::int64_t a = 0, b = 0, c = 0;
  bool operator==(const large& other) const { return a == other.a; }
};

TYPED_TEST(SharedObject, AValueIsReadAndWritten) {
  value<long> number{41};
  value<long> handle = this->lend(number);
  EXPECT_EQ(handle.load(), 41);
  handle.store(-5);
  EXPECT_EQ(number.load(), -5);
  EXPECT_EQ(handle.exchange(7), -5);
  EXPECT_EQ(handle.fetch_add(10), 7);
  EXPECT_EQ(handle.fetch_sub(2), 17);
  EXPECT_EQ(handle.fetch_and(14), 15);
  EXPECT_EQ(handle.fetch_or(1), 14);
  EXPECT_EQ(handle.fetch_xor(3), 15);
  long expected = 0;
  EXPECT_FALSE(handle.compare_exchange(expected, 1));
  EXPECT_EQ(expected, 12);
  EXPECT_TRUE(handle.compare_exchange(expected, 1));
  EXPECT_EQ(number.load(), 1);
  value<double> real = this->lend(value<double>{1.5});
  EXPECT_EQ(real.fetch_add(2.25), 1.5);
  EXPECT_EQ(real.fetch_sub(1.0), 3.75);
  EXPECT_EQ(real.load(), 2.75);
  value<std::int8_t> byte = this->lend(value<std::int8_t>{std::int8_t{-128}});
  EXPECT_EQ(byte.fetch_sub(1), -128);
  EXPECT_EQ(byte.load(), 127);
  value<long double> wide = this->lend(value<long double>{1.0L});
  EXPECT_EQ(wide.fetch_add(0.5L), 1.0L);
  EXPECT_EQ(wide.load(), 1.5L);
}

TYPED_TEST(SharedObject, AValueMayBeAStruct) {
  value<small> two = this->lend(value<small>{small{1, 2}});
  EXPECT_EQ(two.exchange(small{3, 4}), (small{1, 2}));
  small expected{3, 4};
  EXPECT_TRUE(two.compare_exchange(expected, small{5, 6}));
  EXPECT_EQ(two.load(), (small{5, 6}));
  value<large> original;
  value<large> three = this->lend(original);
  static_assert(!value<large>::is_lock_free);
  three.store({1, 2, 3});
  EXPECT_EQ(original.load().c, 3);
  EXPECT_EQ(three.exchange({4, 5, 6}).b, 2);
  large same{4, 0, 0};
  EXPECT_TRUE(three.compare_exchange(same, {7, 8, 9}));
  EXPECT_FALSE(three.compare_exchange(same, {}));
  EXPECT_EQ(same.c, 9);
}

TYPED_TEST(SharedObject, AGuardHasTheValueAndItsLock) {
  value<large> original{large{1, 2, 3}};
  value<large> handle = this->lend(original);
  {
    auto guard = handle.lock();
    EXPECT_FALSE(guard.inherited());
    EXPECT_EQ(guard->b, 2);
    guard->b = 20;
    EXPECT_THROW(static_cast<void>(handle.lock()), std::system_error);
    auto moved = std::move(guard);
    moved->c = 30;
  }
  EXPECT_EQ(original.load().b, 20);
  EXPECT_EQ(original.load().c, 30);
  long sum = 0;
  std::vector<std::unique_ptr<typename TestFixture::worker>> workers;
  for (int i = 0; i < 3; ++i) {
    workers.push_back(std::make_unique<typename TestFixture::worker>([&, mine = handle]() mutable {
      for (int n = 0; n < 30; ++n) {
        ++mine.lock()->a;
      }
    }));
  }
  for (auto& one : workers) {
    one->join();
  }
  sum = original.lock()->a;
  EXPECT_EQ(sum, 91);
}

TYPED_TEST(SharedObject, AnArrayIsReadAndWrittenUnderItsLock) {
  array<int> original{1, 2, 3, 4};
  array<int> handle = this->lend(original);
  EXPECT_EQ(handle.size(), 4U);
  EXPECT_FALSE(handle.empty());
  {
    auto guard = handle.lock();
    EXPECT_EQ(std::accumulate(guard.begin(), guard.end(), 0), 10);
    guard[2] = 30;
    EXPECT_THROW(static_cast<void>(guard.at(4)), std::out_of_range);
  }
  EXPECT_EQ(original.to_vector(), (std::vector{1, 2, 30, 4}));
  handle.assign(std::vector{5, 6, 7, 8});
  EXPECT_EQ(handle.to_vector(), (std::vector{5, 6, 7, 8}));
  EXPECT_THROW(handle.assign(std::vector{1}), std::length_error);
  EXPECT_EQ(original[3], 8);
  EXPECT_TRUE(this->lend(array<int>{}).empty());
  EXPECT_EQ(this->lend(array<bool>{true, false}).to_vector(), (std::vector{true, false}));
}

TYPED_TEST(SharedObject, AQueueGivesWhatWasPut) {
  queue<std::string> original{3, {.name = "items"}};
  queue<std::string> handle = this->lend(original);
  EXPECT_EQ(handle.name(), "items");
  EXPECT_EQ(handle.id(), original.id());
  EXPECT_EQ(handle.capacity(), 3U);
  handle.put("one");
  EXPECT_TRUE(handle.try_put("two"));
  original.put("three");
  EXPECT_TRUE(handle.full());
  EXPECT_FALSE(handle.try_put("four"));
  EXPECT_FALSE(handle.put_for("four", 1ms));
  EXPECT_EQ(handle.get(), "one");
  EXPECT_EQ(handle.get_some(5), (std::vector<std::string>{"two", "three"}));
  EXPECT_EQ(handle.try_get(), std::nullopt);
  EXPECT_EQ(handle.get_for(1ms), std::nullopt);
  EXPECT_FALSE(handle.join_for(0s));
  for (int i = 0; i < 3; ++i) {
    handle.task_done();
  }
  handle.join();
  EXPECT_THROW(handle.task_done(), std::logic_error);
  EXPECT_GT(handle.storage_bytes(), 0U);

  typename TestFixture::worker producer{[&] {
    std::vector<std::string> many;
    for (int i = 0; i < 200; ++i) {
      many.push_back(std::to_string(i));
    }
    handle.put_range(many);
    handle.close();
  }};
  int next = 0;
  for (const std::string& item : this->lend(original)) {
    EXPECT_EQ(item, std::to_string(next++));
  }
  producer.join();
  EXPECT_EQ(next, 200);
  EXPECT_TRUE(handle.is_closed());
  EXPECT_THROW(handle.put("more"), queue_closed);
  EXPECT_THROW(static_cast<void>(handle.get()), queue_closed);
  EXPECT_EQ(handle.get_optional(), std::nullopt);
}

TYPED_TEST(SharedObject, OtherQueuesHaveTheirOrder) {
  lifo_queue<int> stack = this->lend(lifo_queue<int>{});
  stack.put_range(std::vector{1, 2, 3});
  EXPECT_EQ(stack.get_some(3), (std::vector{3, 2, 1}));
  priority_queue<int, std::greater<>> down = this->lend(priority_queue<int, std::greater<>>{});
  priority_queue<int> up = this->lend(priority_queue<int>{});
  down.put_range(std::vector{2, 1, 3});
  up.put_range(std::vector{2, 1, 3});
  EXPECT_EQ(down.get_some(3), (std::vector{3, 2, 1}));
  EXPECT_EQ(up.get_some(3), (std::vector{1, 2, 3}));
}

TYPED_TEST(SharedObject, HandlesCrossInsideOfHandles) {
  queue<std::pair<value<long>, queue<int>>> original;
  const value<long> number{1};
  const queue<int> answers;
  original.put({number, answers});
  auto handle = this->lend(original);
  auto [there, back] = handle.get();
  EXPECT_EQ(there.fetch_add(1), 1);
  back.put(7);
  EXPECT_EQ(number.load(), 2);
  // And back again: it is the object itself.
  handle.put({there, back});
  auto [home, queue_home] = original.get();
  EXPECT_TRUE(home == number);
  EXPECT_EQ(queue_home.get(), 7);
  EXPECT_EQ(queue_home.id(), answers.id());
}

}  // namespace
}  // namespace troupe
