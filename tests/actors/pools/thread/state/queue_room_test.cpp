// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/queue_room.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>

namespace troupe::detail {
namespace {

constexpr auto long_ago = std::chrono::steady_clock::time_point{};

TEST(QueueRoom, ASubmissionGetsInWhileThereIsRoom) {
  queue_room room{4};
  EXPECT_TRUE(room.take(3, 1));
  EXPECT_FALSE(room.take(4, 1));
  EXPECT_TRUE(room.may_enter_one(3));
  EXPECT_FALSE(room.may_enter_one(4));
}

TEST(QueueRoom, IsAwaitedAsLongAsAThreadWaits) {
  queue_room room{1};
  EXPECT_FALSE(room.is_awaited());
  {
    const queue_room::waiter one{room, 1};
    EXPECT_TRUE(room.is_awaited());
  }
  EXPECT_FALSE(room.is_awaited());
}

TEST(QueueRoom, AWaitEndsAtItsDeadline) {
  guarded_mutex mutex;
  mutex_lock lock{mutex};
  queue_room room{1};
  queue_room::waiter one{room, 1};
  EXPECT_FALSE(one.take(1));
  EXPECT_FALSE(one.wait(lock, long_ago));
  EXPECT_TRUE(one.take(0)) << "it tries a last time after that";
}

TEST(QueueRoom, ASubmissionOfManyItemsCollectsItsPlacesBesideSingleOnes) {
  guarded_mutex mutex;
  mutex_lock lock{mutex};
  queue_room room{4};
  std::uint64_t queued = 4;
  queue_room::waiter many{room, 3};
  EXPECT_FALSE(many.take(queued));
  EXPECT_TRUE(many.wait(lock, long_ago)) << "it begins to collect, and tries again at once";
  queue_room::waiter single{room, 1};
  int entered = 0;
  bool complete = false;
  for (int left = 0; left < 8 && !complete; ++left) {
    --queued;
    complete = many.take(queued);
    if (!complete && single.take(queued)) {
      ++queued;
      ++entered;
    }
  }
  EXPECT_TRUE(complete);
  EXPECT_EQ(queued, 1U);
  EXPECT_GE(entered, 2) << "the others got in meanwhile";
}

TEST(QueueRoom, OneThatGivesUpLeavesThePlacesThatItHad) {
  guarded_mutex mutex;
  mutex_lock lock{mutex};
  queue_room room{4};
  {
    queue_room::waiter many{room, 3};
    many.wait(lock, long_ago);
    EXPECT_FALSE(many.take(2));
    EXPECT_FALSE(room.take(2, 1)) << "both places are taken";
    EXPECT_FALSE(many.wait(lock, long_ago));
  }
  EXPECT_TRUE(room.take(2, 1));
}

}  // namespace
}  // namespace troupe::detail
