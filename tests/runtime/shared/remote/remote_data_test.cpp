// SPDX-License-Identifier: BSD-3-Clause
// The same interface: every check runs on a handle of an object that is here, and on one that came
// to another machine; for what has data in it.
#include "troupe/array.hpp"
#include "troupe/queue.hpp"
#include "troupe/value.hpp"

#include "both_places.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;

template <class Where>
class SharedData : public test::both_places<Where> {};
TYPED_TEST_SUITE(SharedData, test::places);

struct small {
  std::uint16_t a = 0, b = 0;
  bool operator==(const small&) const = default;
};
struct large {
  std::int64_t a = 0, b = 0, c = 0;
  bool operator==(const large& other) const { return a == other.a; }
};

TYPED_TEST(SharedData, AValueIsReadAndWritten) {
  value<long> number{41};
  value<long> handle = this->to_importer(number);
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
  value<double> real = this->to_importer(value<double>{1.5});
  EXPECT_EQ(real.fetch_add(2.25), 1.5);
  EXPECT_EQ(real.fetch_sub(1.0), 3.75);
  EXPECT_EQ(real.load(), 2.75);
  value<std::int8_t> byte = this->to_importer(value<std::int8_t>{std::int8_t{-128}});
  EXPECT_EQ(byte.fetch_sub(1), -128);
  EXPECT_EQ(byte.load(), 127);
  value<long double> wide = this->to_importer(value<long double>{1.0L});
  EXPECT_EQ(wide.fetch_add(0.5L), 1.0L);
  EXPECT_EQ(wide.load(), 1.5L);
}

TYPED_TEST(SharedData, AValueMayBeAStruct) {
  value<small> two = this->to_importer(value<small>{small{1, 2}});
  EXPECT_EQ(two.exchange(small{3, 4}), (small{1, 2}));
  small expected{3, 4};
  EXPECT_TRUE(two.compare_exchange(expected, small{5, 6}));
  EXPECT_EQ(two.load(), (small{5, 6}));
  value<large> original;
  value<large> three = this->to_importer(original);
  static_assert(!value<large>::is_lock_free);
  three.store({1, 2, 3});
  EXPECT_EQ(original.load().c, 3);
  EXPECT_EQ(three.exchange({4, 5, 6}).b, 2);
  large same{4, 0, 0};
  EXPECT_TRUE(three.compare_exchange(same, {7, 8, 9}));
  EXPECT_FALSE(three.compare_exchange(same, {}));
  EXPECT_EQ(same.c, 9);
}

TYPED_TEST(SharedData, AGuardHasTheValueAndItsLock) {
  value<large> original{large{1, 2, 3}};
  value<large> handle = this->to_importer(original);
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

TYPED_TEST(SharedData, AnArrayIsReadAndWrittenUnderItsLock) {
  array<int> original{1, 2, 3, 4};
  array<int> handle = this->to_importer(original);
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
  EXPECT_TRUE(this->to_importer(array<int>{}).empty());
  EXPECT_EQ(this->to_importer(array<bool>{true, false}).to_vector(), (std::vector{true, false}));
}

TYPED_TEST(SharedData, AQueueGivesWhatWasPut) {
  queue<std::string> original{3, {.name = "items"}};
  queue<std::string> handle = this->to_importer(original);
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
  for (const std::string& item : this->to_importer(original)) {
    EXPECT_EQ(item, std::to_string(next++));
  }
  producer.join();
  EXPECT_EQ(next, 200);
  EXPECT_TRUE(handle.is_closed());
  EXPECT_THROW(handle.put("more"), queue_closed);
  EXPECT_THROW(static_cast<void>(handle.get()), queue_closed);
  EXPECT_EQ(handle.get_optional(), std::nullopt);
}

TYPED_TEST(SharedData, OtherQueuesHaveTheirOrder) {
  lifo_queue<int> stack = this->to_importer(lifo_queue<int>{});
  stack.put_range(std::vector{1, 2, 3});
  EXPECT_EQ(stack.get_some(3), (std::vector{3, 2, 1}));
  priority_queue<int, std::greater<>> down =
      this->to_importer(priority_queue<int, std::greater<>>{});
  priority_queue<int> up = this->to_importer(priority_queue<int>{});
  down.put_range(std::vector{2, 1, 3});
  up.put_range(std::vector{2, 1, 3});
  EXPECT_EQ(down.get_some(3), (std::vector{3, 2, 1}));
  EXPECT_EQ(up.get_some(3), (std::vector{1, 2, 3}));
}

TYPED_TEST(SharedData, HandlesCrossInsideOfHandles) {
  queue<std::pair<value<long>, queue<int>>> original;
  const value<long> number{1};
  const queue<int> answers;
  original.put({number, answers});
  auto handle = this->to_importer(original);
  auto [there, back] = handle.get();
  EXPECT_EQ(there.fetch_add(1), 1);
  back.put(7);
  EXPECT_EQ(number.load(), 2);
  // And back again: it is the object itself.
  handle.put({there, back});
  auto [exporter, queue_home] = original.get();
  EXPECT_TRUE(exporter == number);
  EXPECT_EQ(queue_home.get(), 7);
  EXPECT_EQ(queue_home.id(), answers.id());
}

}  // namespace
}  // namespace troupe
