// SPDX-License-Identifier: BSD-3-Clause
#include "scheduling/task_queue.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

struct range {
  int name = 0;
  int level = 0;
  std::string key{};
  std::shared_ptr<bool> over = std::make_shared<bool>(false);
  std::uint32_t nested = 0;

  [[nodiscard]] std::uint32_t depth() const { return nested; }
  [[nodiscard]] int priority() const { return level; }
  [[nodiscard]] const std::string& affinity() const { return key; }
  [[nodiscard]] bool is_over() const { return *over; }
};

struct TaskQueue : testing::Test {
 protected:
  std::vector<int> rest() {
    std::vector<int> names;
    while (const range* const next = queue_.next()) {
      names.push_back(next->name);
      queue_.pop();
    }
    return names;
  }
  std::vector<int> rest_of(std::uint64_t worker) {
    std::vector<int> names;
    while (const range* const next = queue_.next_of(worker)) {
      names.push_back(next->name);
      queue_.pop_of(worker);
    }
    return names;
  }

  task_queue<range> queue_;
};

TEST_F(TaskQueue, HandsOutByPriorityAndThenByAge) {
  queue_.push({1, 0});
  queue_.push({2, 5});
  queue_.push({3, -1});
  queue_.push({4, 5});
  queue_.push({5, 0});
  EXPECT_EQ(rest(), (std::vector{2, 4, 1, 5, 3}));
  queue_.push({6, -7});
  EXPECT_EQ(rest(), std::vector{6});
}

TEST_F(TaskQueue, WhatIsOverLeavesWhenItIsMostOfWhatWaits) {
  queue_.push({-1});
  std::vector<std::weak_ptr<bool>> kept;
  for (int i = 0; i < 10'000; ++i) {
    range one{i};
    kept.push_back(one.over);
    *one.over = true;
    queue_.push(std::move(one));
    queue_.note_over();
  }
  std::size_t left = 0;
  for (const auto& one : kept) {
    left += one.expired() ? 0 : 1;
  }
  EXPECT_LT(left, 2'000U);
  EXPECT_EQ(rest(), std::vector{-1});
}

// Each had looked at every priority: that took most of a minute.
TEST_F(TaskQueue, ManyThatAreOverCostLittleIfAllHavePrioritiesOfTheirOwn) {
  constexpr int many = 40'000;
  std::vector<std::shared_ptr<bool>> over;
  for (int i = 0; i < many; ++i) {
    range one{i, -i};
    over.push_back(one.over);
    queue_.push(std::move(one));
  }
  const auto begun = std::chrono::steady_clock::now();
  for (auto it = over.rbegin(); it != over.rend(); ++it) {  // those behind, which `next` never sees
    **it = true;
    queue_.note_over();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds{5});
  EXPECT_EQ(queue_.next(), nullptr);
}

TEST_F(TaskQueue, WhatComesBackIsInFrontOfItsPriorityOnly) {
  queue_.push({1, 0});
  queue_.push({2, 5});
  queue_.push_front({3, 0});
  EXPECT_EQ(rest(), (std::vector{2, 3, 1}));
}

TEST_F(TaskQueue, KnowsWhetherSomethingCouldBeOvertaken) {
  EXPECT_FALSE(queue_.may_overtake(1000));
  queue_.push({1, 3});
  EXPECT_FALSE(queue_.may_overtake(3));
  EXPECT_TRUE(queue_.may_overtake(4));
  rest();
  EXPECT_TRUE(queue_.may_overtake(4)) << "it may be with a worker that has not begun it";
}

TEST_F(TaskQueue, DropsWhatIsOverWhenItsTurnComes) {
  range cancelled{1};
  const auto over = cancelled.over;
  queue_.push(std::move(cancelled));
  queue_.push({2});
  *over = true;
  EXPECT_EQ(over.use_count(), 2);
  EXPECT_EQ(rest(), std::vector{2});
  EXPECT_EQ(over.use_count(), 1);
}

TEST_F(TaskQueue, AKeyWaitsForItsWorkerAndOthersPassIt) {
  queue_.bind("cat", 7);
  queue_.push({1, 0, "cat"});
  queue_.push({2, 0, "dog"});
  queue_.push({3});
  EXPECT_EQ(rest(), (std::vector{2, 3}));
  EXPECT_TRUE(queue_.waits_for(7));
  EXPECT_EQ(queue_.next_of(8), nullptr);
  EXPECT_EQ(rest_of(7), std::vector{1});
  EXPECT_FALSE(queue_.waits_for(7));
}

TEST_F(TaskQueue, WhatWaitsForAWorkerIsInOrderOfPriorityAndAge) {
  queue_.bind("cat", 7);
  for (const range& one : {range{1, 0, "cat"}, range{2, 2, "cat"}, range{3, 0, "cat"}}) {
    queue_.push(one);
    rest();
  }
  EXPECT_EQ(rest_of(7), (std::vector{2, 1, 3}));
}

TEST_F(TaskQueue, WhatWaitsForAWorkerLetsAHigherPriorityPass) {
  queue_.bind("cat", 7);
  queue_.push({1, 0, "cat"});
  rest();
  queue_.push({2, 1});
  EXPECT_EQ(queue_.next_of(7), nullptr);
  EXPECT_EQ(rest(), std::vector{2});
  queue_.push({3, 0});
  EXPECT_EQ(rest_of(7), std::vector{1}) << "of equals what is bound goes first";
}

TEST_F(TaskQueue, AWorkersEndFreesItsKeysAndWhatWaitedForItComesFirst) {
  queue_.bind("cat", 7);
  queue_.bind("dog", 8);
  queue_.push({1, 0, "cat"});
  queue_.push({2, 0, "dog"});
  queue_.push({3, 0, "cat"});
  rest();
  queue_.push({4});
  EXPECT_TRUE(queue_.unbind(7));
  EXPECT_FALSE(queue_.unbind(7));
  EXPECT_EQ(rest(), (std::vector{1, 3, 4}));
  EXPECT_EQ(rest_of(8), std::vector{2});
}

/// What a task of that depth has submitted.
range child(int name, std::uint32_t depth, std::string key = {}, int level = 0) {
  range made{name, level, std::move(key)};
  made.nested = depth;
  return made;
}

TEST_F(TaskQueue, WhatIsNestedDeeperGoesFirstWhateverItsPriority) {
  queue_.push({1, 9});
  queue_.push(child(2, 1));
  queue_.push(child(3, 2, {}, -5));
  queue_.push(child(4, 1, {}, 3));
  queue_.push(child(5, 1));
  EXPECT_EQ(rest(), (std::vector{3, 4, 2, 5, 1}));
  queue_.push(child(6, 1));
  EXPECT_FALSE(queue_.may_overtake(-1)) << "it is not compared with what no task has submitted";
}

TEST_F(TaskQueue, WhatIsNestedDoesNotWaitForABlockedWorker) {
  queue_.bind("cat", 7);
  queue_.block(7);
  queue_.push({1, 0, "cat"});
  queue_.push(child(2, 1, "cat"));
  EXPECT_EQ(rest(), std::vector{2});
  EXPECT_EQ(rest_of(7), std::vector{1}) << "it can wait: no task waits for it";
  queue_.unblock(7);
  queue_.push(child(3, 1, "cat"));
  EXPECT_EQ(rest(), std::vector<int>{});
  EXPECT_EQ(rest_of(7), std::vector{3});
}

TEST_F(TaskQueue, WhatIsNestedLeavesTheLineOfAWorkerThatIsBlocked) {
  queue_.bind("cat", 7);
  queue_.push({1, 0, "cat"});
  queue_.push(child(2, 1, "cat"));
  queue_.push(child(3, 1, "cat"));
  EXPECT_EQ(rest(), std::vector<int>{});
  queue_.block(7);
  EXPECT_EQ(rest(), (std::vector{2, 3}));
  EXPECT_EQ(rest_of(7), std::vector{1});
}

TEST_F(TaskQueue, AKeyStaysWhereItIsBound) {
  queue_.bind("cat", 7);
  queue_.bind("cat", 8);
  queue_.push({1, 0, "cat"});
  rest();
  EXPECT_EQ(rest_of(8), std::vector<int>{});
  EXPECT_EQ(rest_of(7), std::vector{1});
}

TEST_F(TaskQueue, SweepsWhatWaitsForAnyAndForCertainWorkers) {
  queue_.bind("cat", 7);
  queue_.push({1, 0, "cat"});
  rest();
  queue_.push({2});
  queue_.push({3});
  queue_.sweep([](range& what) { return what.name == 3; });
  EXPECT_FALSE(queue_.waits_for(7));
  EXPECT_EQ(rest(), std::vector{3});
}

TEST_F(TaskQueue, GivesUpEverything) {
  queue_.bind("cat", 7);
  queue_.push({1, 0, "cat"});
  rest();
  queue_.push({2, 0});
  queue_.push({3, 9});
  EXPECT_EQ(queue_.take_all().size(), 3U);
  EXPECT_EQ(queue_.next(), nullptr);
  EXPECT_EQ(queue_.next_of(7), nullptr);
}

}  // namespace
}  // namespace troupe::detail
