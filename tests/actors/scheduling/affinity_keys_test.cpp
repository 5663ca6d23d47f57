// SPDX-License-Identifier: BSD-3-Clause
#include "scheduling/affinity_keys.hpp"

#include <gtest/gtest.h>

#include <string>

namespace troupe::detail {
namespace {

TEST(AffinityKeys, AKeyKeepsItsWorkerUntilThatIsGone) {
  affinity_keys<int> keys;
  EXPECT_EQ(keys.find("cat"), nullptr);
  keys.bind("cat", 7);
  keys.bind("dog", 8);
  keys.bind("cat", 8);
  ASSERT_NE(keys.find("cat"), nullptr);
  EXPECT_EQ(*keys.find("cat"), 7);
  keys.unbind(7);
  EXPECT_EQ(keys.find("cat"), nullptr);
  ASSERT_NE(keys.find("dog"), nullptr);
  EXPECT_EQ(*keys.find("dog"), 8);
}

TEST(AffinityKeys, AreCountedByWorker) {
  affinity_keys<int> keys;
  keys.bind("a", 7);
  keys.bind("b", 7);
  keys.bind("c", 8);
  keys.bind("c", 7);
  EXPECT_EQ(keys.count(7), 2U);
  EXPECT_EQ(keys.count(8), 1U);
  keys.unbind(7);
  EXPECT_EQ(keys.count(7), 0U);
  EXPECT_EQ(keys.size(), 1U);
}

TEST(AffinityKeys, OneTooManyAndTheOneUsedLongestAgoIsForgotten) {
  affinity_keys<int> keys{3};
  keys.bind("a", 7);
  keys.bind("b", 7);
  keys.bind("c", 8);
  keys.find("a");
  keys.bind("d", 8);
  EXPECT_EQ(keys.size(), 3U);
  EXPECT_EQ(keys.find("b"), nullptr);
  EXPECT_NE(keys.find("a"), nullptr);
  EXPECT_EQ(keys.count(7), 1U);
  EXPECT_EQ(keys.count(8), 2U);
}

TEST(AffinityKeys, ManyMoreThanAreRememberedTakeNoMoreMemory) {
  affinity_keys<int> keys;
  for (int i = 0; i < 100'000; ++i) {
    keys.bind("customer number " + std::to_string(i), i % 4);
  }
  EXPECT_EQ(keys.size(), max_affinity_keys);
  EXPECT_EQ(keys.count(0) + keys.count(1) + keys.count(2) + keys.count(3), max_affinity_keys);
}

}  // namespace
}  // namespace troupe::detail
