// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/ring.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <random>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

TEST(Ring, IsAQueueWhateverItsSizeWas) {
  std::mt19937 random{7};
  ring<std::unique_ptr<int>> tested;
  std::deque<int> expected;
  int next = 0;
  for (int round = 0; round < 200; ++round) {
    for (auto pushes = random() % 300; pushes > 0; --pushes) {
      tested.push_back(std::make_unique<int>(next));
      expected.push_back(next++);
    }
    ASSERT_EQ(tested.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(*tested[i], expected[i]);
    }
    for (auto pops = random() % 310; pops > 0 && !expected.empty(); --pops) {
      ASSERT_EQ(*tested.front(), expected.front());
      tested.pop_front();
      expected.pop_front();
    }
    ASSERT_EQ(tested.empty(), expected.empty());
  }
}

TEST(Ring, LetsGoOfWhatWasTaken) {
  const auto watched = std::make_shared<int>(1);
  ring<std::shared_ptr<int>> tested;
  for (int i = 0; i < 10'000; ++i) {
    tested.push_back(watched);
  }
  EXPECT_EQ(watched.use_count(), 10'001);
  while (!tested.empty()) {
    tested.pop_front();
  }
  EXPECT_EQ(watched.use_count(), 1);
  tested.push_back(watched);  // after its memory was given back
  EXPECT_EQ(*tested.front(), 1);
}

TEST(Ring, RemovesSomeAndKeepsTheOthersInTheirOrder) {
  ring<int> tested;
  for (int i = 0; i < 13; ++i) {  // so that it does not begin with its memory
    tested.push_back(0);
    tested.pop_front();
  }
  for (int i = 0; i < 40; ++i) {
    tested.push_back(i);
  }
  std::vector<int> removed;
  tested.remove_if([](int value) { return value % 4 != 3; },
                   [&removed](int value) { removed.push_back(value); });
  ASSERT_EQ(tested.size(), 10U);
  ASSERT_EQ(removed.size(), 30U);
  for (std::size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(tested[i], static_cast<int>(4 * i + 3));
    EXPECT_EQ(removed[3 * i], static_cast<int>(4 * i));
  }
}

TEST(Ring, IsEmptyAfterItWasMoved) {
  ring<int> from;
  from.push_back(1);
  ring<int> to{std::move(from)};
  EXPECT_EQ(to.size(), 1U);
  EXPECT_TRUE(from.empty());  // NOLINT(bugprone-use-after-move): that is what is tested
  from.push_back(2);
  to = std::move(from);
  EXPECT_EQ(to.front(), 2);
}

}  // namespace
}  // namespace troupe::detail
