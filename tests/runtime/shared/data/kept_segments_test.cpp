// SPDX-License-Identifier: BSD-3-Clause
#include "shared/data/kept_segments.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace troupe::detail {
namespace {

struct fake_segment {
  std::uint64_t id = 0;
  std::size_t bytes = 0;
  bool lent = false;

  [[nodiscard]] std::size_t capacity() const { return bytes; }
};

constexpr std::size_t mib = std::size_t{1} << 20;

std::uint64_t id_of(const std::optional<fake_segment>& one) {
  return one ? one->id : 0;
}
bool is_free(const fake_segment& one) {
  return !one.lent;
}

struct KeptSegments : testing::Test {
  std::vector<std::uint64_t> put(const fake_segment& one) {
    std::vector<std::uint64_t> ids;
    for (const fake_segment& dropped : kept.put(one)) {
      ids.push_back(dropped.id);
    }
    return ids;
  }
  kept_segments<fake_segment> kept{10 * mib, 3};
};

TEST_F(KeptSegments, TheSmallestThatIsLargeEnoughIsTaken) {
  put({.id = 1, .bytes = 4 * mib});
  put({.id = 2, .bytes = 3 * mib});
  EXPECT_EQ(id_of(kept.take(3 * mib - 1, is_free)), 2U);
  EXPECT_EQ(id_of(kept.take(3 * mib - 1, is_free)), 1U);
  EXPECT_EQ(id_of(kept.take(3 * mib - 1, is_free)), 0U);
  EXPECT_EQ(kept.bytes(), 0U);
}

TEST_F(KeptSegments, OneThatIsNotFreeIsLeftWhereItIs) {
  put({.id = 1, .bytes = 3 * mib, .lent = true});
  put({.id = 2, .bytes = 4 * mib});
  EXPECT_EQ(id_of(kept.take(2 * mib, is_free)), 2U);
  EXPECT_EQ(id_of(kept.take(2 * mib, is_free)), 0U);
  EXPECT_EQ(kept.size(), 1U);
}

TEST_F(KeptSegments, OneOfWhichMostWouldBeWastedIsNotTaken) {
  put({.id = 1, .bytes = 8 * mib});
  EXPECT_EQ(id_of(kept.take(3 * mib, is_free)), 0U);
  EXPECT_EQ(id_of(kept.take(4 * mib, is_free)), 1U);
}

TEST_F(KeptSegments, TheOldestGoWhenThereAreTooManyBytesOrTooManyOfThem) {
  EXPECT_TRUE(put({.id = 1, .bytes = 4 * mib}).empty());
  EXPECT_TRUE(put({.id = 2, .bytes = 4 * mib}).empty());
  EXPECT_EQ(put({.id = 3, .bytes = 4 * mib}), std::vector<std::uint64_t>{1});
  EXPECT_TRUE(put({.id = 4, .bytes = 1}).empty());
  EXPECT_EQ(put({.id = 5, .bytes = 1}), std::vector<std::uint64_t>{2});
  EXPECT_EQ(kept.bytes(), 4 * mib + 2);
}

TEST_F(KeptSegments, OneThatIsLargerThanAllThatMayBeKeptIsNotKept) {
  put({.id = 1, .bytes = mib});
  EXPECT_EQ(put({.id = 2, .bytes = 11 * mib}), (std::vector<std::uint64_t>{2}));
  EXPECT_EQ(kept.size(), 1U);
}

TEST_F(KeptSegments, OneIsFoundByItsId) {
  put({.id = 1, .bytes = mib});
  put({.id = 2, .bytes = mib});
  EXPECT_EQ(id_of(kept.take_id(2)), 2U);
  EXPECT_EQ(id_of(kept.take_id(2)), 0U);
  EXPECT_EQ(kept.clear().size(), 1U);
  EXPECT_EQ(kept.bytes(), 0U);
}

}  // namespace
}  // namespace troupe::detail
