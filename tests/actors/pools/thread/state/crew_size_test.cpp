// SPDX-License-Identifier: BSD-3-Clause
#include "pools/thread/state/crew_size.hpp"

#include <gtest/gtest.h>

namespace troupe::detail {
namespace {

TEST(CrewSize, GrowsToItsMostAndShrinksToItsLeast) {
  crew_size size{1, 2};
  EXPECT_EQ(size.wanted(), 1);
  EXPECT_FALSE(size.may_shrink());
  size.grow();
  size.grow();
  EXPECT_EQ(size.wanted(), 2);
  size.shrink();
  EXPECT_EQ(size.wanted(), 1);
  EXPECT_FALSE(size.may_shrink());
}

TEST(CrewSize, ALimitAndANewSizeAreSeenByAllThatReadTheMost) {
  crew_size size{2, 8};
  size.limit(3);
  EXPECT_EQ(size.most(), 3);
  EXPECT_EQ(size.least(), 2);
  size.set(5);
  EXPECT_EQ(size.most(), 5);
  EXPECT_EQ(size.least(), 5);
  EXPECT_EQ(size.wanted(), 5);
}

TEST(CrewCount, FollowsAWorkerFromItsStartToItsEnd) {
  crew_count count;
  count.begun(false);
  EXPECT_EQ(count.alive(), 1);
  EXPECT_EQ(count.staying(), 1);
  EXPECT_EQ(count.ready(), 0);
  count.initialized(true);
  EXPECT_EQ(count.ready(), 1);
  count.is_leaving(true);
  EXPECT_EQ(count.staying(), 0);
  EXPECT_EQ(count.ready(), 0);
  EXPECT_EQ(count.working(), 1);
  count.left();
  EXPECT_EQ(count.working(), 0);
  EXPECT_EQ(count.alive(), 1) << "its thread may still use the pool";
  count.departed();
  EXPECT_EQ(count.alive(), 0);
  EXPECT_EQ(count.initialized(), 1);
}

TEST(CrewCount, OneWhoseInitializerThrewWasNeverReady) {
  crew_count count;
  count.begun(false);
  count.initialized(false);
  EXPECT_EQ(count.initialized(), 1);
  EXPECT_EQ(count.ready(), 0);
  count.is_leaving(false);
  EXPECT_EQ(count.ready(), 0);
}

TEST(CrewCount, AReliefIsBeyondTheSizeOfThePool) {
  crew_count count;
  count.begun(true);
  EXPECT_EQ(count.alive(), 1);
  EXPECT_EQ(count.working(), 1);
  EXPECT_EQ(count.staying(), 0);
}

TEST(CrewCount, TheLastOneThatIsReadyIsNotTooMany) {
  crew_count count;
  count.begun(false);
  count.begun(false);
  count.initialized(true);
  EXPECT_FALSE(count.are_too_many(1)) << "the one that is starting may fail";
  count.initialized(true);
  EXPECT_TRUE(count.are_too_many(1));
  EXPECT_FALSE(count.are_too_many(2));
}

}  // namespace
}  // namespace troupe::detail
