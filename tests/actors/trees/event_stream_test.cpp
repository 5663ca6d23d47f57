// SPDX-License-Identifier: BSD-3-Clause
#include "trees/event_stream.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

namespace troupe::detail {
namespace {

supervisor_event event_of(const std::string& path) {
  return {supervisor_event_kind::ready, path, 1, {}, false, 0};
}
const std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now();

TEST(EventStream, GivesEventsInTheirOrder) {
  event_stream stream{8};
  stream.put(event_of("a"));
  stream.put(event_of("b"));
  EXPECT_EQ(stream.take(now)->path, "a");
  EXPECT_EQ(stream.take(now)->path, "b");
  EXPECT_FALSE(stream.take(now));
  EXPECT_FALSE(stream.ended());
}

TEST(EventStream, ASlowReaderLosesTheOldestAndIsToldHowMany) {
  event_stream stream{2};
  for (const char* path : {"a", "b", "c", "d", "e"}) {
    stream.put(event_of(path));
  }
  const auto first = stream.take(now);
  EXPECT_EQ(first->path, "d");
  EXPECT_EQ(first->lost_before, 3U);
  EXPECT_EQ(stream.take(now)->lost_before, 0U);
}

TEST(EventStream, AfterItsEndTheRestIsReadAndNothingIsWaitedFor) {
  event_stream stream{2};
  stream.put(event_of("a"));
  stream.end();
  EXPECT_FALSE(stream.ended());
  EXPECT_EQ(stream.take(std::nullopt)->path, "a");
  EXPECT_FALSE(stream.take(std::nullopt));
  EXPECT_TRUE(stream.ended());
}

TEST(EventStream, AReaderWaitsForTheNextEvent) {
  event_stream stream{2};
  std::jthread writer{[&] { stream.put(event_of("late")); }};
  EXPECT_EQ(stream.take(std::nullopt)->path, "late");
}

}  // namespace
}  // namespace troupe::detail
