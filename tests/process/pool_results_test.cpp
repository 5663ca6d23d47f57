// SPDX-License-Identifier: BSD-3-Clause
// What the ways to submit give back: the serial result, whatever the chunk, the order and the
// types.
#include "troupe/value.hpp"

#include "pool_fixture.hpp"

#include <algorithm>
#include <array>
#include <forward_list>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

struct PoolResults : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(PoolResults);

std::vector<int> serial_squares(int n) {
  std::vector<int> expected;
  for (int i = 0; i < n; ++i) {
    expected.push_back(square(i));
  }
  return expected;
}

TEST_P(PoolResults, ApplyAndApplyAsyncGiveTheSerialResult) {
  pool p{options()};
  EXPECT_EQ(p.apply(square, 7), 49);
  EXPECT_EQ(p.apply(add, 1, 2), 3);
  EXPECT_EQ(p.apply_async(add, 20, 22).get(), 42);
  EXPECT_NE(p.apply(pid_here), ::getpid());
}

int value_of(const std::pair<const std::string, int>& entry) {
  return entry.second;
}

TEST_P(PoolResults, TheElementsOfAMapAndItemsInBracesAreItems) {
  pool p{options()};
  const std::map<std::string, int> table{{"a", 1}, {"b", 2}};
  EXPECT_EQ(p.map(value_of, table), (std::vector{1, 2}));
  EXPECT_EQ(p.map(square, {1, 2, 3}), (std::vector{1, 4, 9}));
  EXPECT_EQ(p.map_async(square, {2, 3}).get(), (std::vector{4, 9}));
}

void count_one(const value<int>& counter) {
  counter.fetch_add(1);
}

TEST_P(PoolResults, AHandleTakenByConstReferenceIsTheSameObject) {
  pool p{options()};
  const value<int> counter;
  p.apply(count_one, counter);
  EXPECT_EQ(counter.load(), 1);
}

TEST_P(PoolResults, APoolIsMadeOfANumberOfWorkers) {
  pool p(1);
  EXPECT_EQ(p.workers().size(), 1U);
  EXPECT_THROW(pool(0), std::invalid_argument);
  EXPECT_THROW(pool(std::size_t{1} << 32U), std::invalid_argument);
}

// Python: _TestPool.test_map, test_map_async, test_starmap, test_imap, test_imap_unordered.
TEST_P(PoolResults, EveryMapGivesTheSerialResultWithAndWithoutChunk) {
  pool p{options()};
  const std::vector<int> expected = serial_squares(300);
  const auto input = std::views::iota(0, 300);
  std::vector<std::pair<int, int>> pairs;
  for (int i = 0; i < 300; ++i) {
    pairs.emplace_back(i, -2 * i);
  }
  std::vector<int> sums;
  for (const auto& [a, b] : pairs) {
    sums.push_back(a + b);
  }
  for (const std::size_t chunk : {0U, 1U, 7U, 100U, 1000U}) {
    SCOPED_TRACE("chunk " + std::to_string(chunk));
    EXPECT_EQ(p.map(square, input, {.chunk = chunk}), expected);
    EXPECT_EQ(p.map_async(square, input, {.chunk = chunk}).get(), expected);
    EXPECT_EQ(p.starmap(add, pairs, {.chunk = chunk}), sums);
    EXPECT_EQ(p.starmap_async(add, pairs, {.chunk = chunk}).get(), sums);
    std::vector<int> lazy;
    for (const int y : p.imap(square, input, {.chunk = chunk})) {
      lazy.push_back(y);
    }
    EXPECT_EQ(lazy, expected);
    std::vector<int> unordered;
    for (const int y : p.imap_unordered(square, input, {.chunk = chunk})) {
      unordered.push_back(y);
    }
    std::sort(unordered.begin(), unordered.end());
    EXPECT_EQ(unordered, expected);
  }
}

// Python: test_empty_iterable.
TEST_P(PoolResults, EmptyInputsEndAtOnce) {
  pool p{options()};
  const std::vector<int> none;
  const std::vector<std::pair<int, int>> no_pairs;
  EXPECT_TRUE(p.map(square, none).empty());
  EXPECT_TRUE(p.starmap(add, no_pairs).empty());
  auto later = p.map_async(square, none);
  EXPECT_TRUE(later.ready());
  EXPECT_TRUE(later.get().empty());
  EXPECT_TRUE(p.starmap_async(add, no_pairs).get().empty());
  for (const int y : p.imap(square, none)) {
    ADD_FAILURE() << "a result out of nothing: " << y;
  }
  for (const int y : p.imap_unordered(square, none)) {
    ADD_FAILURE() << "a result out of nothing: " << y;
  }
  EXPECT_EQ(p.stats().submitted, 0U);
}

TEST_P(PoolResults, ASingleItemIsAMapToo) {
  pool p{options()};
  EXPECT_EQ(p.map(square, std::vector{9}), std::vector{81});
  EXPECT_EQ(p.map_async(square, std::views::single(9)).get(), std::vector{81});
}

struct counter {
  int start = 0;
  [[nodiscard]] int plus(int x) const { return start + x; }
  int plain() const { return start; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(start);
  }
};

struct scale {
  int factor = 1;
  int operator()(int x) const { return factor * x; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(factor);
  }
};

struct counting {
  int calls = 0;
  int operator()(int x) { return ++calls * 1000 + x; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(calls);
  }
};

const auto registered = troupe::name("pool_results_test.square", square);

TEST_P(PoolResults, CallablesOfAllKindsCross) {
  pool p{options()};
  EXPECT_EQ(p.apply(square, 3), 9);
  EXPECT_EQ(p.apply(&square, 3), 9);
  EXPECT_EQ(p.apply([](int x) { return x + 1; }, 3), 4);
  EXPECT_EQ(p.apply([](auto x) { return x + x; }, 3), 6);
  EXPECT_EQ(p.apply([](auto x) { return x + x; }, std::string{"ab"}), "abab");
  EXPECT_EQ(p.apply(&counter::plus, counter{40}, 2), 42);
  EXPECT_EQ(p.apply(&counter::plain, counter{40}), 40);
  EXPECT_EQ(p.apply(scale{7}, 6), 42);
  EXPECT_EQ(p.apply(partial(add, 40), 2), 42);
  EXPECT_EQ(p.apply(partial(partial(add, 40), 2)), 42);
  EXPECT_EQ(p.apply(named<int(int)>("pool_results_test.square"), 5), 25);
  EXPECT_EQ(p.map(scale{2}, std::views::iota(0, 4)), (std::vector{0, 2, 4, 6}));
  EXPECT_EQ(p.map(partial(&counter::plus, counter{10}), std::views::iota(0, 4)),
            (std::vector{10, 11, 12, 13}));
}

TEST_P(PoolResults, AStateThatACallChangesIsNotSeenByTheNextItem) {
  pool p{options(1)};
  EXPECT_EQ(p.map(counting{}, std::views::iota(0, 5), {.chunk = 5}),
            (std::vector{1000, 1001, 1002, 1003, 1004}));
}

std::unique_ptr<int> twice(std::unique_ptr<int> x) {
  return std::make_unique<int>(2 * *x);
}

struct only_moves {
  only_moves() = default;
  explicit only_moves(std::string t) : text{std::move(t)} {}
  only_moves(only_moves&&) = default;
  only_moves& operator=(only_moves&&) = default;
  only_moves(const only_moves&) = delete;
  only_moves& operator=(const only_moves&) = delete;
  ~only_moves() = default;
  std::string text;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(text);
  }
};

TEST_P(PoolResults, MoveOnlyArgumentsAndResultsCross) {
  pool p{options()};
  EXPECT_EQ(*p.apply(twice, std::make_unique<int>(21)), 42);
  std::vector<std::unique_ptr<int>> items;
  for (int i = 0; i < 20; ++i) {
    items.push_back(std::make_unique<int>(i));
  }
  const auto doubled = p.map(twice, items);
  ASSERT_EQ(doubled.size(), 20U);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(*doubled[static_cast<std::size_t>(i)], 2 * i);
    EXPECT_EQ(*items[static_cast<std::size_t>(i)], i) << "the input was taken from";
  }
  auto later = p.map_async(twice, items);
  EXPECT_EQ(*later.get()[3], 6);
  EXPECT_EQ(*later.get()[3], 6) << "a second get decodes again";
  int i = 0;
  for (const std::unique_ptr<int> y : p.imap(twice, items)) {
    EXPECT_EQ(*y, 2 * i++);
  }
  EXPECT_EQ(p.apply([](only_moves m) { return only_moves{m.text + "!"}; }, only_moves{"a"}).text,
            "a!");
}

TEST_P(PoolResults, VoidFunctionsHaveOutcomesToo) {
  pool p{options()};
  const std::string log = file("log");
  p.apply(mark, log);
  future<void> one = p.apply_async(mark, log);
  one.get();
  EXPECT_TRUE(one.get_for(1h));
  p.map(mark, std::vector<std::string>(10, log));
  p.starmap([](const std::string& path, int) { mark(path); },
            std::vector<std::pair<std::string, int>>(10, {log, 1}));
  p.map_async(mark, std::vector<std::string>(10, log)).get();
  EXPECT_EQ(marks(log), 32U);
}

struct everything {
  std::map<std::string, std::vector<double>> table;
  std::optional<std::tuple<int, char>> maybe;
  std::array<std::uint8_t, 3> bytes{};
  bool operator==(const everything&) const = default;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(table, maybe, bytes);
  }
};

TEST_P(PoolResults, NestedTypesArriveEqual) {
  pool p{options()};
  const everything value{{{"a\0b", {1.5, -0.0}}, {"", {}}}, {{7, 'x'}}, {1, 2, 255}};
  EXPECT_EQ(p.apply([](const everything& e) { return e; }, value), value);
  EXPECT_EQ(p.apply([](std::string a, std::string_view b) { return a + std::string{b}; }, "left ",
                    "right"),
            "left right");
}

TEST_P(PoolResults, AnyInputRangeWillDo) {
  pool p{options()};
  const std::vector<int> expected = serial_squares(5);
  EXPECT_EQ(p.map(square, std::list{0, 1, 2, 3, 4}), expected);
  EXPECT_EQ(p.map(square, std::forward_list{0, 1, 2, 3, 4}), expected);
  EXPECT_EQ(p.map(square, std::array{0, 1, 2, 3, 4}), expected);
  const int raw[] = {0, 1, 2, 3, 4};
  EXPECT_EQ(p.map(square, raw), expected);
  EXPECT_EQ(
      p.map(square, std::vector{0, 1, 2, 3, 4} | std::views::transform([](int x) { return -x; })),
      expected);
  std::istringstream text{"0 1 2 3 4"};  // its iterators can only be moved
  EXPECT_EQ(p.map(square, std::ranges::istream_view<int>{text}), expected);
  std::istringstream again{"0 1 2 3 4"};
  EXPECT_EQ(p.map_async(square, std::ranges::istream_view<int>{again}).get(), expected);
  EXPECT_EQ(p.map([](bool b) { return b ? 1 : 0; }, std::vector<bool>{true, false, true}),
            (std::vector{1, 0, 1}));
  std::vector<int> from_temporary;
  for (const int y : p.imap(square, std::vector{0, 1, 2, 3, 4})) {
    from_temporary.push_back(y);
  }
  EXPECT_EQ(from_temporary, expected);
}

// The first item ends last: it waits for a mark that the second one makes.
int first_waits_for_second(int item, const std::string& second_ran) {
  if (item == 1) {
    mark(second_ran);
  } else if (item == 0 && !eventually([&] { return marks(second_ran) > 0; })) {
    throw std::runtime_error{"the second item never ran"};
  }
  return item;
}

TEST_P(PoolResults, MapKeepsInputOrderWhenWorkersFinishOutOfOrder) {
  pool p{options()};
  const std::vector<std::pair<int, std::string>> items{
      {0, file("ran")}, {1, file("ran")}, {2, file("ran")}, {3, file("ran")}};
  EXPECT_EQ(p.starmap(first_waits_for_second, items, {.chunk = 1}), (std::vector{0, 1, 2, 3}));
}

int waits_if_zero(int item, const std::string& gate) {
  return item != 0 ? item : wait_at(gate + ".running", gate) - 1;
}

TEST_P(PoolResults, ImapUnorderedGivesWhatIsDoneFirst) {
  pool p{options()};
  const std::string gate = file("gate");
  // 0 cannot end before 1, 2 and 3 have been handed out.
  std::vector<int> order;
  for (const int y : p.imap_unordered(
           partial([](const std::string& g, int i) { return waits_if_zero(i, g); }, gate),
           std::views::iota(0, 4), {.chunk = 1})) {
    order.push_back(y);
    if (order.size() == 3) {
      mark(gate);
    }
  }
  ASSERT_EQ(order.size(), 4U);
  EXPECT_EQ(order.back(), 0);
}

TEST_P(PoolResults, ImapAndImapUnorderedAgreeOnAThousandItemsInChunksOfAHundred) {
  pool p{options()};
  const std::vector<int> expected = serial_squares(1000);
  std::vector<int> ordered;
  for (const int y : p.imap(square, std::views::iota(0, 1000), {.chunk = 100})) {
    ordered.push_back(y);
  }
  EXPECT_EQ(ordered, expected);
  std::vector<int> unordered;
  for (const int y : p.imap_unordered(square, std::views::iota(0, 1000), {.chunk = 100})) {
    unordered.push_back(y);
  }
  EXPECT_EQ(unordered.size(), expected.size());
  EXPECT_TRUE(std::ranges::is_permutation(unordered, expected));
}

TEST_P(PoolResults, ManyCallsInFlightEachGetTheirOwnResult) {
  pool p{options()};
  std::vector<future<int>> all;
  for (int i = 0; i < 5000; ++i) {
    all.push_back(p.apply_async(add, i, i));
  }
  for (int i = 0; i < 5000; ++i) {
    ASSERT_EQ(all[static_cast<std::size_t>(i)].get(), 2 * i);
  }
  const pool_stats stats = p.stats();
  EXPECT_EQ(stats.submitted, 5000U);
  EXPECT_EQ(stats.succeeded, 5000U);
  EXPECT_EQ(stats.queued, 0U);
  EXPECT_EQ(stats.running, 0U);
  EXPECT_EQ(stats.deaths, 0U);
}

TEST_P(PoolResults, SeveralThreadsMaySubmitToOnePool) {
  pool p{options()};
  std::vector<std::jthread> threads;
  std::array<std::vector<int>, 4> results;
  for (std::size_t t = 0; t < results.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        results[t].push_back(p.apply(add, static_cast<int>(t) * 1000, i));
      }
    });
  }
  threads.clear();
  for (std::size_t t = 0; t < results.size(); ++t) {
    ASSERT_EQ(results[t].size(), 200U);
    for (int i = 0; i < 200; ++i) {
      EXPECT_EQ(results[t][static_cast<std::size_t>(i)], static_cast<int>(t) * 1000 + i);
    }
  }
}

int nested_sum(int n) {
  pool inner{{.workers = 2}};
  const std::vector<int> squares = inner.map(square, std::views::iota(0, n));
  inner.close();
  inner.join();
  return std::accumulate(squares.begin(), squares.end(), 0);
}

TEST_P(PoolResults, ATaskMayMakeItsOwnPoolAndMap) {
  pool p{options()};
  EXPECT_EQ(p.map(nested_sum, std::vector{3, 5, 10}), (std::vector{5, 30, 285}));
}

}  // namespace
}  // namespace troupe::test
