// SPDX-License-Identifier: BSD-3-Clause
// Inputs of a map: pulled lazily, without end, without bound in memory, and such that throw.
#include "pool_fixture.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <ranges>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

struct PoolInput : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(PoolInput);

struct input_failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// 0, 1, 2, ...: counts what is pulled, throws in place of element `bad`, ends before `end`.
class counted_input {
 public:
  explicit counted_input(int* pulled, int end = -1, int bad = -1)
      : pulled_{pulled}, end_{end}, bad_{bad} {}

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    iterator() = default;
    explicit iterator(const counted_input* from) : from_{from} {}
    int operator*() const {
      if (at_ == from_->bad_) {
        throw input_failed{"element " + std::to_string(at_)};
      }
      *from_->pulled_ = std::max(*from_->pulled_, at_ + 1);
      return at_;
    }
    iterator& operator++() {
      ++at_;
      return *this;
    }
    void operator++(int) { ++at_; }
    [[nodiscard]] bool at_end() const { return at_ == from_->end_; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.at_end(); }

   private:
    const counted_input* from_ = nullptr;
    int at_ = 0;
  };

  [[nodiscard]] iterator begin() const { return iterator{this}; }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

 private:
  int* pulled_;
  int end_;
  int bad_;
};

TEST_P(PoolInput, ImapPullsAtMostTheWindowAheadOfWhatItGaveOut) {
  pool p{options()};
  for (const std::size_t chunk : {0U, 1U, 4U}) {
    for (const int window : {1, 2, 10, 100}) {
      SCOPED_TRACE("window " + std::to_string(window) + ", chunk " + std::to_string(chunk));
      int pulled = 0;
      counted_input input{&pulled};
      auto results =
          p.imap(square, input, {.chunk = chunk, .window = static_cast<std::size_t>(window)});
      int given = 0;
      for (const int y : results) {
        ASSERT_EQ(y, square(given));
        ASSERT_LE(pulled, given + window);
        if (++given == 300) {
          break;
        }
      }
      EXPECT_GE(pulled, 300);
    }
  }
}

TEST_P(PoolInput, ImapUnorderedPullsAtMostTheWindowAhead) {
  pool p{options()};
  int pulled = 0;
  counted_input input{&pulled};
  int given = 0;
  for ([[maybe_unused]] const int y : p.imap_unordered(square, input, {.window = 8})) {
    ASSERT_LE(pulled, given + 8);
    if (++given == 300) {
      break;
    }
  }
  EXPECT_EQ(given, 300);
}

TEST_P(PoolInput, ImapTakesNothingBeforeItIsIterated) {
  pool p{options()};
  int pulled = 0;
  counted_input input{&pulled};
  auto results = p.imap(square, input, {.window = 4});
  EXPECT_EQ(pulled, 0);
  static_cast<void>(results.begin());
  EXPECT_GT(pulled, 0);
  EXPECT_LE(pulled, 4);
}

TEST_P(PoolInput, AnInputWithoutEndIsFineWithoutAWindowToo) {
  pool p{options()};
  int given = 0;
  for (const int y : p.imap([](int x) { return x + 1; }, std::views::iota(0))) {
    ASSERT_EQ(y, given + 1);
    if (++given == 5000) {
      break;
    }
  }
  EXPECT_EQ(p.apply(square, 3), 9);
}

/// Says how many calls this copy has had: each message has one.
struct calls_of_a_message {
  mutable int calls = 0;
  int operator()(int) const { return ++calls; }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(calls);
  }
};

// One of which an element took 50 microseconds went in messages of four.
TEST_P(PoolInput, AMessageHasTheItemsOfItsChunkHoweverSlowTheInputIs) {
  pool_options one = options();
  one.workers = 1;  // another one would take what waits behind a slow item
  pool p{one};
  const auto slowly = std::views::iota(0, 20) | std::views::transform([](int i) {
                        const auto end = std::chrono::steady_clock::now() + 300us;
                        while (std::chrono::steady_clock::now() < end) {
                        }
                        return i;
                      });
  std::vector<int> expected;
  for (int i = 0; i < 20; ++i) {
    expected.push_back(i % 5 + 1);
  }
  EXPECT_EQ(p.map(calls_of_a_message{}, slowly, {.chunk = 5}), expected);
  std::vector<int> lazily;
  for (const int calls : p.imap(calls_of_a_message{}, slowly, {.chunk = 5})) {
    lazily.push_back(calls);
  }
  EXPECT_EQ(lazily, expected);
}

TEST_P(PoolInput, MapPullsItsInputThroughAWindow) {
  pool p{options(1)};
  // Each task tells how many items had been pulled when it was encoded, which is what it got.
  int pulled = 0;
  const auto results = p.map(square, counted_input{&pulled, 500}, {.chunk = 1, .window = 5});
  EXPECT_EQ(results.size(), 500U);
  EXPECT_EQ(pulled, 500);
}

// Python: test_map_handle_iterable_exception and its imap siblings, at the 1st, 4th and 7th
// element.
struct PoolInputThatThrows : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(PoolInputThatThrows);

TEST_P(PoolInputThatThrows, FailsMapAsItIsAndThePoolIsUsableAfter) {
  pool p{options()};
  for (const int bad : {0, 3, 6}) {
    for (const std::size_t chunk : {0U, 1U, 2U, 4U}) {
      SCOPED_TRACE("element " + std::to_string(bad) + ", chunk " + std::to_string(chunk));
      int pulled = 0;
      EXPECT_THROW(p.map(square, counted_input{&pulled, 20, bad}, {.chunk = chunk}), input_failed);
      EXPECT_THROW(
          static_cast<void>(p.map_async(square, counted_input{&pulled, 20, bad}, {.chunk = chunk})),
          input_failed);
      EXPECT_EQ(p.map(square, std::vector{1, 2}), (std::vector{1, 4}));
    }
  }
  p.close();
  p.join();
}

TEST_P(PoolInputThatThrows, GivesImapAllItemsBeforeIt) {
  pool p{options()};
  for (const int bad : {0, 3, 6}) {
    for (const std::size_t chunk : {0U, 1U, 2U, 4U}) {
      SCOPED_TRACE("element " + std::to_string(bad) + ", chunk " + std::to_string(chunk));
      int pulled = 0;
      std::vector<int> ordered;
      std::vector<int> unordered;
      EXPECT_THROW(
          {
            counted_input input(&pulled, 20, bad);
            for (const int y : p.imap(square, input, {.chunk = chunk})) {
              ordered.push_back(y);
            }
          },
          input_failed);
      EXPECT_THROW(
          {
            counted_input input(&pulled, 20, bad);
            for (const int y : p.imap_unordered(square, input, {.chunk = chunk})) {
              unordered.push_back(y);
            }
          },
          input_failed);
      std::sort(unordered.begin(), unordered.end());
      std::vector<int> expected;
      for (int i = 0; i < bad; ++i) {
        expected.push_back(square(i));
      }
      EXPECT_EQ(ordered, expected);
      EXPECT_EQ(unordered, expected);
      EXPECT_EQ(p.apply(square, 5), 25);
    }
  }
}

TEST_P(PoolInputThatThrows, ItsErrorHasNoRemoteOrigin) {
  pool p{options()};
  int pulled = 0;
  try {
    p.map(square, counted_input{&pulled, 20, 3});
    FAIL() << "nothing was thrown";
  } catch (const std::exception& thrown) {
    EXPECT_EQ(dynamic_cast<const remote_error_info*>(&thrown), nullptr);
    EXPECT_STREQ(thrown.what(), "element 3");
  }
}

std::size_t peak_kib() {
  std::ifstream status{"/proc/self/status"};
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("VmHWM:")) {
      return std::stoul(line.substr(6));
    }
  }
  return 0;
}

struct PoolMemory : every_start_method {
 protected:
  static constexpr int many = sanitized ? 100'000 : 1'000'000;

  // The high-water mark starts again from what is in use now.
  static bool forget_peak() {
    std::ofstream clear{"/proc/self/clear_refs"};
    return static_cast<bool>(clear << "5" << std::flush);
  }
  static void expect_peak_below(std::size_t kib) {
    if (!sanitized) {  // the sanitizers' own memory is beyond what is expected here
      EXPECT_LT(peak_kib(), kib);
    }
  }
};
TROUPE_FOR_EVERY_START_METHOD(PoolMemory);

TEST_P(PoolMemory, AMillionItemsThroughAVoidMapTakeNoMemory) {
  pool p{options()};
  p.map([](int) {}, std::views::iota(0, 100'000));
  if (!forget_peak()) {
    GTEST_SKIP() << "this kernel does not reset the high-water mark";
  }
  const std::size_t before = peak_kib();
  p.map([](int) {}, std::views::iota(0, many));
  // Encoded all at once, the items alone would be 8 MB, their bookkeeping much more.
  expect_peak_below(before + 6 * 1024);
  EXPECT_EQ(p.stats().succeeded, 100'000U + many);
}

TEST_P(PoolMemory, AMillionItemsThroughMapCostTheirResultsOnly) {
  pool p{options()};
  p.map([](int x) { return x ^ 3; }, std::views::iota(0, 100'000));
  if (!forget_peak()) {
    GTEST_SKIP() << "this kernel does not reset the high-water mark";
  }
  const std::size_t before = peak_kib();
  const auto results = p.map([](int x) { return x ^ 5; }, std::views::iota(0, many));
  ASSERT_EQ(results.size(), static_cast<std::size_t>(many));
  EXPECT_EQ(results.back(), (many - 1) ^ 5);
  // 4 MB of results, and what is in the window.
  expect_peak_below(before + 4 * 1024 + 6 * 1024);
}

TEST_P(PoolMemory, AMillionItemsThroughImapUnorderedTakeNoMemory) {
  pool p{options()};
  for ([[maybe_unused]] const int y :
       p.imap_unordered(square, std::views::iota(0, 100'000) |
                                    std::views::transform([](int x) { return x & 1023; }))) {
  }
  if (!forget_peak()) {
    GTEST_SKIP() << "this kernel does not reset the high-water mark";
  }
  const std::size_t before = peak_kib();
  std::int64_t count = 0;
  for (const int y : p.imap_unordered([](int x) { return x & 1; }, std::views::iota(0, many))) {
    count += y;
  }
  EXPECT_EQ(count, many / 2);
  expect_peak_below(before + 6 * 1024);
}

}  // namespace
}  // namespace troupe::test
