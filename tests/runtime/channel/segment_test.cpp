// SPDX-License-Identifier: BSD-3-Clause
#include "channel/segment.hpp"

#include "troupe/error.hpp"

#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::detail {
namespace {

using test::fails_with;

constexpr std::size_t mib = std::size_t{1} << 20;

TEST(SegmentPool, ReusesWhatCameBack) {
  const auto pool = std::make_shared<segment_pool>(64 * mib);
  auto first = pool->acquire(mib);
  const std::uint64_t id = first->id();
  EXPECT_GE(first->capacity(), mib);
  EXPECT_EQ(pool->idle_bytes(), 0U);
  first.reset();
  EXPECT_GE(pool->idle_bytes(), mib);
  const auto second = pool->acquire(mib);
  EXPECT_EQ(second->id(), id);
  EXPECT_EQ(pool->idle_bytes(), 0U);
  const auto third = pool->acquire(mib);
  EXPECT_NE(third->id(), id);
}

TEST(SegmentPool, GivesNoHugeSegmentForASmallPayload) {
  const auto pool = std::make_shared<segment_pool>(64 * mib);
  pool->acquire(32 * mib).reset();
  const auto small = pool->acquire(64 * 1024);
  EXPECT_LT(small->capacity(), 2 * mib);
  EXPECT_GE(pool->idle_bytes(), 32 * mib);
}

TEST(SegmentPool, KeepsNoMoreThanItMay) {
  const auto pool = std::make_shared<segment_pool>(4 * mib);
  std::vector<std::shared_ptr<segment>> taken;
  for (int i = 0; i < 10; ++i) {
    taken.push_back(pool->acquire(mib));
  }
  taken.clear();
  EXPECT_LE(pool->idle_bytes(), 4 * mib);
  EXPECT_GT(pool->idle_bytes(), 0U);
  pool->acquire(8 * mib).reset();
  EXPECT_LE(pool->idle_bytes(), 4 * mib);
}

TEST(SegmentPool, WaitsForTheReaderOfAResult) {
  const auto pool = std::make_shared<segment_pool>(64 * mib);
  std::atomic<std::uint8_t> in_use{1};
  auto first = pool->acquire(mib);
  const std::uint64_t id = first->id();
  first->in_use = &in_use;
  first.reset();
  EXPECT_NE(pool->acquire(mib)->id(), id) << "a reader still has it";
  in_use = 0;
  std::set<std::uint64_t> ids;
  const auto a = pool->acquire(mib);
  const auto b = pool->acquire(mib);
  ids.insert(a->id());
  ids.insert(b->id());
  EXPECT_EQ(ids.count(id), 1U);
}

TEST(SegmentPool, MayGoBeforeItsSegments) {
  auto pool = std::make_shared<segment_pool>(64 * mib);
  const auto alive = pool->acquire(mib);
  pool.reset();
  std::memset(alive->data(), 1, alive->capacity());
  EXPECT_EQ(alive->data()[mib - 1], std::byte{1});
}

TEST(SegmentPool, ServesSeveralThreads) {
  const auto pool = std::make_shared<segment_pool>(8 * mib);
  std::vector<std::jthread> threads;
  std::atomic<int> mixed_up{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const auto mine = pool->acquire(std::size_t{64 * 1024} << (i % 3));
        std::memset(mine->data(), t, mine->capacity());
        std::this_thread::yield();
        for (std::size_t at = 0; at < mine->capacity(); at += 4096) {
          mixed_up += mine->data()[at] == static_cast<std::byte>(t) ? 0 : 1;
        }
      }
    });
  }
  threads.clear();
  EXPECT_EQ(mixed_up, 0);
  EXPECT_LE(pool->idle_bytes(), 8 * mib);
}

TEST(Segment, ItsReaderCannotMapItForWriting) {
  const segment one{mib};
  EXPECT_EQ(::mmap(nullptr, mib, PROT_READ | PROT_WRITE, MAP_SHARED, one.reader().number(), 0),
            MAP_FAILED);
  const mapping view = map_foreign(one.reader(), mib);
  one.data()[5] = std::byte{42};
  EXPECT_EQ(view.data()[5], std::byte{42});
}

TEST(ForeignMemory, ThatIsTooShortOrNotSealedIsRefused) {
  const segment one{mib};
  EXPECT_TRUE(
      fails_with(errc::protocol_error, [&] { return map_foreign(one.reader(), 1024 * mib); }));
  const descriptor loose{::memfd_create("segment_test", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return map_foreign(loose, 4096); }));
}

// ---- payload_sink -------------------------------------------------------------------------------

class PayloadSink : public testing::Test {
 protected:
  static std::string pattern(std::size_t bytes) {
    std::string made(bytes, '\0');
    std::uint32_t x = 1;
    for (char& c : made) {
      x = x * 1664525U + 1013904223U;
      c = static_cast<char>(x >> 24);
    }
    return made;
  }
  static bool holds(const payload_sink& sink, const std::string& text) {
    return sink.size() == text.size() && std::memcmp(sink.data(), text.data(), text.size()) == 0;
  }

  std::shared_ptr<segment_pool> segments_ = std::make_shared<segment_pool>(64 * mib);
};

TEST_F(PayloadSink, StaysOnTheHeapUpToTheInlineLimitAndMovesToASegmentBeyond) {
  payload_sink sink{segments_, 64 * mib, "the test"};
  const std::string text = pattern(inline_limit + 1);
  sink.append(text.data(), inline_limit);
  EXPECT_EQ(sink.in_segment(), nullptr);
  sink.append(text.data() + inline_limit, 1);
  ASSERT_NE(sink.in_segment(), nullptr);
  EXPECT_TRUE(holds(sink, text));
}

TEST_F(PayloadSink, GrowsByteByByteWithoutLosingAny) {
  payload_sink sink{segments_, 64 * mib, "the test"};
  const std::string text = pattern(300'000);
  for (const char& c : text) {
    sink.append(&c, 1);
  }
  EXPECT_TRUE(holds(sink, text));
}

TEST_F(PayloadSink, TakesALargeAppendAtOnce) {
  payload_sink sink{segments_, 64 * mib, "the test"};
  const std::string text = pattern(5 * mib + 3);
  sink.append(text.data(), text.size());
  EXPECT_TRUE(holds(sink, text));
}

TEST_F(PayloadSink, RefusesMoreThanItsLimitAndNamesIt) {
  payload_sink sink{segments_, 10 * mib, "the test's bytes"};
  EXPECT_TRUE(fails_with(errc::payload_too_large, [&] { return sink.extend(20 * mib); }));
  try {
    static_cast<void>(sink.extend(20 * mib));
    FAIL() << "nothing was thrown";
  } catch (const error& thrown) {
    EXPECT_NE(std::string{thrown.what()}.find("the test's bytes"), std::string::npos);
    EXPECT_NE(std::string{thrown.what()}.find(std::to_string(10 * mib)), std::string::npos);
  }
  EXPECT_EQ(sink.size(), 0U);
  const std::string text = pattern(9 * mib);
  sink.append(text.data(), text.size());
  EXPECT_TRUE(holds(sink, text)) << "a refusal changed the sink";
}

TEST_F(PayloadSink, IsUsableAgainAfterClear) {
  payload_sink sink{segments_, 64 * mib, "the test"};
  for (const std::size_t bytes :
       {std::size_t{10}, mib, std::size_t{0}, std::size_t{100}, 3 * mib, inline_limit}) {
    sink.clear();
    const std::string text = pattern(bytes);
    sink.append(text.data(), text.size());
    EXPECT_TRUE(holds(sink, text)) << bytes;
    EXPECT_EQ(sink.in_segment() != nullptr, bytes > inline_limit) << bytes;
  }
}

TEST_F(PayloadSink, GivesItsSegmentBack) {
  {
    payload_sink sink{segments_, 64 * mib, "the test"};
    static_cast<void>(sink.extend(mib));
    EXPECT_EQ(segments_->idle_bytes(), 0U);
    const auto kept = sink.in_segment();
    sink.clear();
    EXPECT_EQ(segments_->idle_bytes(), 0U) << "another owner still has it";
  }
  EXPECT_GE(segments_->idle_bytes(), mib);
}

}  // namespace
}  // namespace troupe::detail
