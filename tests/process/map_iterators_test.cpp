// SPDX-License-Identifier: BSD-3-Clause
// Iterators of imap, imap_unordered and of executors' map: after ++ threw, at the end, without
// their range, and of a pool that ended.
#include "troupe/executor.hpp"
#include "troupe/wait.hpp"

#include "pool_fixture.hpp"
#include "thread_fixture.hpp"

#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

/// The maps whose results are read one by one: on processes and on threads.
struct imap_of {
  template <class P, class F, class Range>
  static auto map(P& p, F f, Range&& range) {
    return p.imap(f, std::forward<Range>(range), {.chunk = 1});
  }
};
struct imap_unordered_of {
  template <class P, class F, class Range>
  static auto map(P& p, F f, Range&& range) {
    return p.imap_unordered(f, std::forward<Range>(range), {.chunk = 1});
  }
};
struct map_of {
  template <class P, class F, class Range>
  static auto map(P& p, F f, Range&& range) {
    return p.map({.chunk = 1}, f, std::forward<Range>(range));
  }
};
template <class Pool, class Words>
struct one_map : Words {
  using pool_type = Pool;
};
using all_maps =
    testing::Types<one_map<pool, imap_of>, one_map<pool, imap_unordered_of>,
                   one_map<process_pool_executor, map_of>, one_map<thread_pool, imap_of>,
                   one_map<thread_pool, imap_unordered_of>, one_map<thread_pool_executor, map_of>>;
struct map_names {
  template <class Map>
  static std::string GetName(int) {
    using pool_type = typename Map::pool_type;
    if constexpr (std::is_same_v<pool_type, process_pool_executor>) {
      return "process_executor";
    } else if constexpr (std::is_same_v<pool_type, thread_pool_executor>) {
      return "thread_executor";
    } else {
      const std::string on = std::is_same_v<pool_type, pool> ? "processes" : "threads";
      return on + (std::is_base_of_v<imap_of, Map> ? "_imap" : "_imap_unordered");
    }
  }
};

template <class Map>
class MapIterators : public pool_test {
 protected:
  using pool_type = typename Map::pool_type;
  template <class Range>
  auto map(Range&& range) {
    return Map::map(pool_, square, std::forward<Range>(range));
  }
  pool_type pool_{{.workers = 2}};
};
TYPED_TEST_SUITE(MapIterators, all_maps, map_names);

struct input_failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// 0, 1, ..., and throws in place of element `bad`.
auto fails_at(int bad, int count) {
  return std::views::iota(0, count) | std::views::transform([bad](int i) {
           if (i == bad) {
             throw input_failed{"element " + std::to_string(i)};
           }
           return i;
         });
}

template <class Iterator>
bool has_no_element(const Iterator& it) {
  try {
    static_cast<void>(*it);
  } catch (const error& what) {
    return what.code() == errc::no_state;
  }
  return false;
}

struct numbered {
  int number = 0;
  std::string read;  ///< the file where the reader of the results marks each
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number, read);
  }
};
/// Those behind the first wait until all results before theirs were read. Whether that was so.
constexpr int first_quick = 30;
bool after_the_results_before(const numbered& one) {
  const std::string gave_up = one.read + " late";
  const auto read_in_time = [&] { return marks(one.read) >= static_cast<std::size_t>(one.number); };
  if (one.number < first_quick ||
      (eventually([&] { return read_in_time() || marks(gave_up) > 0; }) && read_in_time())) {
    return true;
  }
  mark(gave_up);  // the others need not wait as long
  return false;
}

// Many quick items say that more of them could travel together. The caller has said how many do.
TYPED_TEST(MapIterators, WithAChunkOfOneAResultDoesNotWaitForThoseBehindIt) {
  const auto input =
      std::views::iota(0, 2 * first_quick) | std::views::transform([this](int i) {
        if (i == first_quick) {  // it has been measured how quick they are
          EXPECT_TRUE(eventually([this] { return this->pool_.stats().succeeded > 10; }));
        }
        return numbered{i, this->file("read")};
      });
  int read = 0;
  for (const bool in_time : TypeParam::map(this->pool_, after_the_results_before, input)) {
    ASSERT_TRUE(in_time) << "of " << read << " results";
    mark(this->file("read"));
    ++read;
  }
  EXPECT_EQ(read, 2 * first_quick);
}

TYPED_TEST(MapIterators, AfterAnIncrementThatThrewTheElementIsThatException) {
  auto results = this->map(fails_at(7, 20));
  auto it = results.begin();
  for (int i = 0; i < 6; ++i) {
    static_cast<void>(*it);
    ++it;
  }
  static_cast<void>(*it);
  EXPECT_THROW(++it, input_failed);
  EXPECT_FALSE(it == std::default_sentinel);
  EXPECT_THROW(static_cast<void>(*it), input_failed);
  EXPECT_THROW(static_cast<void>(*it), input_failed) << "as often as it is asked";
  ++it;
  EXPECT_TRUE(it == std::default_sentinel);
}

TYPED_TEST(MapIterators, AfterABeginThatThrewTheNextOneGoesOn) {
  auto results = this->map(fails_at(0, 20));
  EXPECT_THROW(results.begin(), input_failed);
  EXPECT_TRUE(results.begin() == std::default_sentinel);
}

TYPED_TEST(MapIterators, AtTheEndThereIsNoElementToRead) {
  auto results = this->map(std::vector{1, 2});
  auto it = results.begin();
  ++it;
  EXPECT_GT(*it, 0);
  ++it;
  ASSERT_TRUE(it == std::default_sentinel);
  EXPECT_TRUE(has_no_element(it));
  ++it;
  EXPECT_TRUE(it == std::default_sentinel);
}

TYPED_TEST(MapIterators, WithoutARangeIsAtTheEnd) {
  using iterator = decltype(this->map(std::vector{1}).begin());
  iterator none;
  EXPECT_TRUE(none == std::default_sentinel);
  EXPECT_TRUE(has_no_element(none));
  EXPECT_THROW(++none, error);

  std::optional results{this->map(std::vector{1, 2, 3})};
  auto it = results->begin();
  EXPECT_GT(*it, 0);
  results.reset();
  EXPECT_TRUE(it == std::default_sentinel);
  EXPECT_TRUE(has_no_element(it));
  ++it;
  EXPECT_TRUE(it == std::default_sentinel);
}

TYPED_TEST(MapIterators, StayWithTheResultsWhenTheRangeIsMoved) {
  auto results = this->map(std::vector{1, 2, 3});
  auto it = results.begin();
  int sum = *it;
  auto moved = std::make_unique<decltype(results)>(std::move(results));
  for (++it; it != moved->end(); ++it) {
    sum += *it;
  }
  EXPECT_EQ(sum, 14);
  EXPECT_THROW(results.begin(), error);  // NOLINT(bugprone-use-after-move): what it says is tested
}

TYPED_TEST(MapIterators, CopiesAndFurtherBeginsAreAtTheSamePosition) {
  auto results = this->map(std::vector{1, 2, 3});
  auto first = results.begin();
  int sum = *first;
  auto copy = first;
  ++copy;
  sum += *first;
  const auto again = results.begin();
  sum += *copy;
  EXPECT_EQ(sum, 14);
  EXPECT_TRUE(again != std::default_sentinel);
  ++first;
  EXPECT_TRUE(again == std::default_sentinel);
}

TYPED_TEST(MapIterators, OfAnotherRangeAssignedOverItsOwnIsAtTheEnd) {
  auto results = this->map(std::vector{1, 2, 3});
  auto it = results.begin();
  results = this->map(std::vector{4});
  EXPECT_TRUE(it == std::default_sentinel);
  EXPECT_EQ(*results.begin(), 16);
}

template <class Pool>
class PoolThatEnds : public pool_test {};
using pools = testing::Types<pool, thread_pool>;
struct pool_names {
  template <class Pool>
  static std::string GetName(int) {
    return std::is_same_v<Pool, pool> ? "processes" : "threads";
  }
};
TYPED_TEST_SUITE(PoolThatEnds, pools, pool_names);

TYPED_TEST(PoolThatEnds, ImapGivesWhatWasComputedBeforeItThrows) {
  TypeParam p{{.workers = 2}};
  auto results = p.imap(square, std::views::iota(0, 1000), {.chunk = 1, .window = 4});
  auto it = results.begin();
  ASSERT_EQ(*it, 0);
  p.close();
  for (int i = 1; i < 4; ++i) {
    ++it;
    EXPECT_EQ(*it, i * i);
  }
  EXPECT_THROW(++it, pool_closed);
  EXPECT_THROW(static_cast<void>(*it), pool_closed);
  ++it;
  EXPECT_TRUE(it == std::default_sentinel);
}

TYPED_TEST(PoolThatEnds, ImapUnorderedGivesWhatWasComputedBeforeItThrows) {
  TypeParam p{{.workers = 2}};
  auto results = p.imap_unordered(square, std::views::iota(0, 1000), {.chunk = 1, .window = 4});
  auto it = results.begin();
  p.close();
  int taken = 1;
  EXPECT_THROW(
      {
        for (++it; it != std::default_sentinel; ++it) {
          ++taken;
        }
      },
      pool_closed);
  EXPECT_EQ(taken, 4);
}

TYPED_TEST(PoolThatEnds, ARangeMayGoAfterItsPool) {
  std::optional<decltype(std::declval<TypeParam&>().imap(square, std::vector{1}))> results;
  {
    TypeParam p{{.workers = 2}};
    results.emplace(p.imap(square, std::vector{1, 2, 3, 4}, {.chunk = 1, .window = 2}));
    auto it = results->begin();
    EXPECT_EQ(*it, 1);
  }
  auto it = results->begin();
  try {
    for (; it != std::default_sentinel; ++it) {
      EXPECT_EQ(*it, 4) << "the other one of the window, if it was computed";
    }
    ADD_FAILURE() << "nothing was said of the rest";
  } catch (const error& what) {
    EXPECT_TRUE(what.code() == errc::pool_closed || what.code() == errc::cancelled) << what.what();
  }
}

struct AsCompletedIterators : pool_test {};

TEST_F(AsCompletedIterators, StayWithTheFuturesWhenTheRangeIsMovedOrGone) {
  thread_pool p{{.workers = 1}};
  std::vector<future<int>> futures{p.apply_async(square, 1), p.apply_async(square, 2)};
  auto range = as_completed(futures);
  auto it = range.begin();
  EXPECT_EQ((*it).get(), 1);
  {
    const auto moved = std::move(range);
    ++it;
    EXPECT_EQ((*it).get(), 4);
  }
  EXPECT_TRUE(it == std::default_sentinel);
  EXPECT_FALSE((*it).valid());
  decltype(it) none;
  EXPECT_TRUE(none == std::default_sentinel);
  EXPECT_TRUE(has_no_element(none));
}

}  // namespace
}  // namespace troupe::test
