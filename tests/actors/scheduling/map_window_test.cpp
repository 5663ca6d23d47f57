// SPDX-License-Identifier: BSD-3-Clause
#include "scheduling/map_window.hpp"

#include "troupe/detail/map_cut.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace troupe::detail {
namespace {

using namespace std::chrono_literals;

constexpr auto quickly = 1us;
constexpr auto slowly = 300us;
constexpr auto not_measured = 0ns;
constexpr std::size_t workers = 4;

/// Pulls and submits what the window wants now; the sizes of the submissions.
std::vector<std::size_t> fill(map_window& window, std::chrono::nanoseconds pull_time = quickly,
                              std::chrono::nanoseconds mean = not_measured) {
  std::vector<std::size_t> sizes;
  while (const std::size_t items = window.wanted(workers)) {
    window.pulled(items, pull_time, mean);
    window.submitted(items);
    sizes.push_back(items);
  }
  return sizes;
}

TEST(MapWindow, BeginsWithOneItemASubmissionAndDoublesIt) {
  map_window window{{}};
  std::vector<std::size_t> sizes;
  for (int i = 0; i < 12; ++i) {
    sizes.push_back(window.submission_items());
    window.pulled(sizes.back(), quickly, not_measured);
  }
  EXPECT_EQ(sizes, (std::vector<std::size_t>{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024}));
}

TEST(MapWindow, ASlowInputMakesSubmissionsSmallerDownToOneItem) {
  map_window window{{}};
  for (int i = 0; i < 5; ++i) {
    window.pulled(1, quickly, not_measured);
  }
  EXPECT_EQ(window.submission_items(), 32U);
  window.pulled(32, slowly, not_measured);
  EXPECT_EQ(window.submission_items(), 16U);
  for (int i = 0; i < 8; ++i) {
    window.pulled(1, slowly, not_measured);
  }
  EXPECT_EQ(window.submission_items(), 1U);
}

TEST(MapWindow, PullingASubmissionStopsWhenItIsFullOrTheInputIsSlow) {
  const map_window window{{}};
  EXPECT_TRUE(window.goes_on(1, 8, quickly));
  EXPECT_FALSE(window.goes_on(8, 8, quickly));
  EXPECT_FALSE(window.goes_on(1, 8, slowly));
}

TEST(MapWindow, ASlowInputDoesNotCutAChunk) {
  const map_window window{{.chunk = 4}};
  EXPECT_TRUE(window.goes_on(1, 16, slowly));
  EXPECT_TRUE(window.goes_on(7, 16, slowly));
  EXPECT_FALSE(window.goes_on(8, 16, slowly));
}

TEST(MapWindow, StreamedSubmissionsFollowTheMeasuredTime) {
  map_window window{{.streamed = true}};
  window.pulled(1, quickly, not_measured);
  EXPECT_EQ(window.submission_items(), 1U) << "nothing is known of the items";
  window.pulled(1, quickly, 1us);
  EXPECT_EQ(window.submission_items(), 4U) << "not all at once";
  for (int i = 0; i < 10; ++i) {
    window.pulled(1, quickly, 1us);
  }
  EXPECT_EQ(window.submission_items(), 200U) << "about 200 microseconds of work";
  window.pulled(1, quickly, 50ms);
  EXPECT_EQ(window.submission_items(), 1U);
}

TEST(MapWindow, AStreamedSubmissionIsNeverLargerThanTheChunkThatWasAskedFor) {
  map_window window{{.chunk = 5, .streamed = true}};
  for (const auto time : {std::chrono::nanoseconds{quickly}, std::chrono::nanoseconds{slowly}}) {
    window.pulled(5, time, 10ns);
    EXPECT_EQ(window.submission_items(), 5U);
  }
}

TEST(MapWindow, ASubmissionHasAtLeastOneChunk) {
  map_window window{{.chunk = 10}};
  EXPECT_EQ(window.submission_items(), 10U);
  window.pulled(10, quickly, not_measured);
  EXPECT_EQ(window.submission_items(), 20U);
  window.pulled(20, slowly, not_measured);
  window.pulled(10, slowly, not_measured);
  EXPECT_EQ(window.submission_items(), 10U);
}

TEST(MapWindow, NeverHasMoreInFlightThanWasAskedFor) {
  map_window window{{.window = 7}};
  for (std::size_t round = 0; round < 20; ++round) {
    fill(window);
    ASSERT_EQ(window.in_flight(), 7U);
    window.handed_out(round % 7 + 1);
  }
}

TEST(MapWindow, KeepsTwiceAsManyItemsAsThereAreWorkers) {
  map_window window{{.streamed = true}};
  fill(window, quickly, 50ms);
  EXPECT_GE(window.in_flight(), 2 * workers);
  EXPECT_LE(window.in_flight(), 2 * (workers + 1));
}

TEST(MapWindow, IsFilledAgainWhenItIsHalfEmptyAndByWholeSubmissions) {
  map_window window{{.streamed = true}};
  for (int i = 0; i < 10; ++i) {
    window.pulled(1, quickly, 10us);
  }
  ASSERT_EQ(window.submission_items(), 20U);
  fill(window, quickly, 10us);
  const std::size_t full = window.in_flight();
  EXPECT_EQ(full, 20 * (workers + 1) * 2);
  window.handed_out(5);
  EXPECT_EQ(window.wanted(workers), 0U) << "for five items it makes no submission";
  window.handed_out(15);
  EXPECT_EQ(fill(window, quickly, 10us), std::vector<std::size_t>{20});
}

TEST(MapWindow, TheRestOfAnInputGoesInSubmissionsThatGrowWithWhatIsBeforeThem) {
  map_window window{{.streamed = true}};
  EXPECT_EQ(window.wanted_of_rest(0), 1U);
  window.pulled(6400, quickly, not_measured);
  EXPECT_EQ(window.wanted_of_rest(0), 100U);
  window.pulled(1'000'000, quickly, not_measured);
  EXPECT_EQ(window.wanted_of_rest(0), 1024U);
  EXPECT_EQ(window.wanted_of_rest(50), 50U) << "no larger than the queue";
  window.pulled(1, slowly, not_measured);
  EXPECT_EQ(window.wanted_of_rest(0), 1U) << "the input is slow";
}

TEST(MapWindow, TheRestOfAnInputGoesInWholeChunks) {
  map_window window{{.chunk = 30}};
  window.pulled(6400, quickly, not_measured);
  EXPECT_EQ(window.wanted_of_rest(0) % 30, 0U);
  EXPECT_GE(window.wanted_of_rest(0), 100U);
}

TEST(MapCut, OnlyMovesToTheFront) {
  map_cut cut;
  EXPECT_FALSE(cut.any());
  EXPECT_FALSE(cut.cuts(0));
  EXPECT_TRUE(cut.after(10));
  EXPECT_FALSE(cut.cuts(10)) << "what failed is not cut off itself";
  EXPECT_TRUE(cut.cuts(11));
  EXPECT_FALSE(cut.after(20));
  EXPECT_FALSE(cut.cuts(5));
  EXPECT_TRUE(cut.after(4));
  EXPECT_TRUE(cut.cuts(5));
  EXPECT_TRUE(cut.all());
  EXPECT_TRUE(cut.cuts(0));
  EXPECT_FALSE(cut.all());
}

TEST(FirstFailure, IsTheFirstInInputOrder) {
  first_failure failure;
  EXPECT_FALSE(failure.is_certain());
  EXPECT_TRUE(failure.is(errc::worker_lost));
  EXPECT_TRUE(failure.is_certain());
  EXPECT_FALSE(failure.is(errc::timeout));
}

TEST(FirstFailure, IsNotWhatWasCancelledBecauseOfAnother) {
  first_failure failure;
  EXPECT_TRUE(failure.is(errc::cancelled));
  EXPECT_FALSE(failure.is(errc::cancelled));
  EXPECT_FALSE(failure.is_certain());
  EXPECT_TRUE(failure.is(errc::timeout));
  EXPECT_FALSE(failure.is(errc::cancelled));
}

}  // namespace
}  // namespace troupe::detail
