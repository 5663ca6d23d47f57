// SPDX-License-Identifier: BSD-3-Clause
#include "os/failpoint.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace troupe::detail {
namespace {

#if defined(TROUPE_FAILPOINTS) && TROUPE_FAILPOINTS

class Failpoint : public testing::Test {
 protected:
  Failpoint() { failpoint::reset(); }
  ~Failpoint() override { failpoint::reset(); }
};

TEST_F(Failpoint, ThatIsNotArmedLetsPass) {
  EXPECT_EQ(failpoint::hit("failpoint_test.never"), 0);
  EXPECT_EQ(failpoint::hits("failpoint_test.never"), 0U);
}

TEST_F(Failpoint, GivesItsErrnoAtTheNthHitAndThoseAfter) {
  failpoint::arm("failpoint_test.errno", failpoint::action::give_errno, 3, 2, EAGAIN);
  std::vector<int> got;
  for (int i = 0; i < 6; ++i) {
    got.push_back(failpoint::hit("failpoint_test.errno"));
  }
  EXPECT_EQ(got, (std::vector{0, 0, EAGAIN, EAGAIN, 0, 0}));
  EXPECT_EQ(failpoint::hits("failpoint_test.errno"), 6U);
}

TEST_F(Failpoint, ArmedAgainStartsCountingAnew) {
  failpoint::arm("failpoint_test.again", failpoint::action::give_errno, 1, 1, EIO);
  EXPECT_EQ(failpoint::hit("failpoint_test.again"), EIO);
  EXPECT_EQ(failpoint::hit("failpoint_test.again"), 0);
  failpoint::arm("failpoint_test.again", failpoint::action::give_errno, 2, 1, ENOMEM);
  EXPECT_EQ(failpoint::hits("failpoint_test.again"), 0U);
  EXPECT_EQ(failpoint::hit("failpoint_test.again"), 0);
  EXPECT_EQ(failpoint::hit("failpoint_test.again"), ENOMEM);
}

TEST_F(Failpoint, Throws) {
  failpoint::arm("failpoint_test.throw", failpoint::action::throw_error);
  EXPECT_THROW(failpoint::hit("failpoint_test.throw"), std::runtime_error);
  EXPECT_EQ(failpoint::hit("failpoint_test.throw"), 0);
}

TEST_F(Failpoint, ResetDisarmsAndForgets) {
  failpoint::arm("failpoint_test.reset", failpoint::action::throw_error, 1, UINT32_MAX);
  failpoint::reset();
  EXPECT_EQ(failpoint::hit("failpoint_test.reset"), 0);
  failpoint::reset();
  EXPECT_EQ(failpoint::hits("failpoint_test.reset"), 0U);
}

TEST_F(Failpoint, ForEverDoesNotOverflow) {
  failpoint::arm("failpoint_test.ever", failpoint::action::give_errno, 2, UINT32_MAX, EIO);
  EXPECT_EQ(failpoint::hit("failpoint_test.ever"), 0);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(failpoint::hit("failpoint_test.ever"), EIO);
  }
}

TEST_F(Failpoint, NamesAreNotMixedUp) {
  failpoint::arm("failpoint_test.a", failpoint::action::give_errno, 1, 1, 1);
  failpoint::arm("failpoint_test.ab", failpoint::action::give_errno, 1, 1, 2);
  EXPECT_EQ(failpoint::hit("failpoint_test.ab"), 2);
  EXPECT_EQ(failpoint::hit("failpoint_test.a"), 1);
  EXPECT_EQ(failpoint::hit("failpoint_test."), 0);
}

TEST_F(Failpoint, OneHitIsCountedOnceAcrossThreads) {
  failpoint::arm("failpoint_test.threads", failpoint::action::give_errno, 5000, 1, EIO);
  std::atomic<int> fired{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 2500; ++i) {
          fired += failpoint::hit("failpoint_test.threads") == EIO ? 1 : 0;
        }
      });
    }
  }
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(failpoint::hits("failpoint_test.threads"), 10'000U);
}

TEST_F(Failpoint, ANameThatIsTooLongIsRefused) {
  EXPECT_THROW(failpoint::arm(std::string(500, 'x'), failpoint::action::kill), std::length_error);
}

TEST_F(Failpoint, TheMacrosReachIt) {
  failpoint::arm("failpoint_test.macro", failpoint::action::give_errno, 1, 1, EIO);
  EXPECT_EQ(TROUPE_FAILPOINT_ERRNO("failpoint_test.macro"), EIO);
  TROUPE_FAILPOINT("failpoint_test.macro");
  EXPECT_EQ(failpoint::hits("failpoint_test.macro"), 2U);
}

#else

TEST(Failpoint, ArmingOneInABuildWithoutThemSaysSo) {
  EXPECT_THROW(failpoint::arm("x", failpoint::action::kill), std::logic_error);
}

#endif

}  // namespace
}  // namespace troupe::detail
