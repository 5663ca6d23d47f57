// SPDX-License-Identifier: BSD-3-Clause
#include "scheduling/room.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace troupe::detail {
namespace {

TEST(Room, IsWhatTheBoundLeaves) {
  EXPECT_TRUE(has_room(0, 10, 10));
  EXPECT_TRUE(has_room(7, 3, 10));
  EXPECT_FALSE(has_room(8, 3, 10));
  EXPECT_TRUE(has_room(1'000'000, 3, 0)) << "there is no bound";
}

TEST(Room, ASubmissionLargerThanTheBoundPassesWhenTheQueueIsEmpty) {
  EXPECT_TRUE(has_room(0, 100, 10));
  EXPECT_FALSE(has_room(1, 100, 10));
}

TEST(RoomShare, WithoutOneThatCollectsAllMayEnterWhereThereIsRoom) {
  const room_share share{4};
  EXPECT_TRUE(share.may_enter(3, 1));
  EXPECT_FALSE(share.may_enter(4, 1));
  EXPECT_FALSE(share.may_enter(3, 2));
}

// It waited until the queue was empty, which it never was beside others that submit.
TEST(RoomShare, ASubmissionOfManyItemsCollectsItsPlacesInTurnsWithOthers) {
  room_share share{4};
  std::uint64_t queued = 4;
  ASSERT_TRUE(share.begin(3));
  EXPECT_FALSE(share.collect(queued, true));
  int entered = 0;
  for (int left = 0; left < 8 && !share.is_complete(queued, 3); ++left) {
    --queued;
    share.collect(queued, true);
    if (share.may_enter(queued, 1)) {
      ++queued;
      ++entered;
      share.entered();
    }
  }
  EXPECT_TRUE(share.is_complete(queued, 3));
  EXPECT_EQ(queued, 1U);
  EXPECT_GE(entered, 2) << "the others got in meanwhile";
  share.end();
  EXPECT_TRUE(share.may_enter(1, 3));
}

TEST(RoomShare, WhatNobodyElseWaitsForIsCollectedAtOnce) {
  room_share share{4};
  ASSERT_TRUE(share.begin(3));
  EXPECT_TRUE(share.collect(2, false));
  EXPECT_FALSE(share.is_complete(2, 3));
  EXPECT_FALSE(share.may_enter(2, 1)) << "the two places are taken";
  EXPECT_TRUE(share.collect(1, false));
  EXPECT_TRUE(share.is_complete(1, 3));
}

TEST(RoomShare, OneLargerThanTheBoundCollectsTheWholeQueue) {
  room_share share{4};
  ASSERT_TRUE(share.begin(100));
  share.collect(1, false);
  EXPECT_FALSE(share.is_complete(1, 100));
  share.collect(0, false);
  EXPECT_TRUE(share.is_complete(0, 100));
}

TEST(RoomShare, OneCollectsAtATime) {
  room_share share{4};
  ASSERT_TRUE(share.begin(3));
  EXPECT_FALSE(share.begin(2)) << "each could have a part of the places for ever";
  share.end();
  EXPECT_TRUE(share.begin(2));
}

TEST(RoomLine, CallsInTheOrderOfArrival) {
  room_line line;
  room_line::place first;
  room_line::place second;
  EXPECT_EQ(line.call(), nullptr);
  line.stand(first);
  line.stand(second);
  EXPECT_EQ(line.size(), 2U);
  EXPECT_EQ(line.call(), &first);
  EXPECT_TRUE(first.is_called());
  EXPECT_EQ(line.call(), &second);
  EXPECT_EQ(line.call(), nullptr);
}

TEST(RoomLine, TheOneThatWasCalledInVainStandsInFront) {
  room_line line;
  room_line::place first;
  room_line::place second;
  line.stand(first);
  line.stand(second);
  ASSERT_EQ(line.call(), &first);
  line.stand(first);  // others were faster
  EXPECT_EQ(line.call(), &first);
}

TEST(RoomLine, TheOneThatWasCalledAndLeavesHandsItsRoomOn) {
  room_line line;
  room_line::place first;
  room_line::place second;
  line.stand(first);
  line.stand(second);
  ASSERT_EQ(line.call(), &first);
  EXPECT_TRUE(line.leave(first, false));
  ASSERT_EQ(line.call(), &second);
  EXPECT_FALSE(line.leave(second, true)) << "it took the room";
  EXPECT_FALSE(line.leave(second, false)) << "it has left already";
}

TEST(RoomLine, TheOneThatLeavesBeforeItIsCalledHadNoRoomToHandOn) {
  room_line line;
  room_line::place first;
  room_line::place second;
  line.stand(first);
  line.stand(second);
  EXPECT_FALSE(line.leave(first, false));
  EXPECT_EQ(line.call(), &second);
}

}  // namespace
}  // namespace troupe::detail
