// SPDX-License-Identifier: BSD-3-Clause
#include "scheduling/room.hpp"

#include <gtest/gtest.h>

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
