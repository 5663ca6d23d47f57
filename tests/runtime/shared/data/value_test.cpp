// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/value.hpp"

#include "troupe/array.hpp"
#include "troupe/error.hpp"

#include "runtime/shared/crossing_handles.hpp"
#include "runtime/shared/shared_fixture.hpp"
#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <limits>
#include <numeric>
#include <ranges>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace troupe {
namespace {

using test::crossed;
using test::fails_with;
using test::forked;
using test::signpost;

class Value : public test::shared_objects {};
class Array : public test::shared_objects {};

struct point {
  double x = 1;
  double y = 2;
  std::int32_t tag = 3;
  bool operator==(const point&) const = default;
};

static_assert(value<int>::is_lock_free && value<double>::is_lock_free);
static_assert(!value<point>::is_lock_free);
static_assert(std::ranges::contiguous_range<array<int>::guard>);
static_assert(std::ranges::contiguous_range<raw_array<int>>);
static_assert(std::convertible_to<array<int>::guard&, std::span<int>>);
static_assert(std::convertible_to<const raw_array<int>&, std::span<int>>);

TEST_F(Value, BeginsAsItIsTold) {
  EXPECT_EQ(value<int>{}.load(), 0);
  EXPECT_EQ(value<int>{7}.load(), 7);
  EXPECT_EQ(value<point>{}.load(), (point{1, 2, 3})) << "as T{} has it";
  EXPECT_EQ((*raw_value<point>{point{4, 5, 6}}), (point{4, 5, 6}));
  const value<bool> named{true, {.name = "flag"}};
  EXPECT_EQ(named.name(), "flag");
  EXPECT_TRUE(named.load());
}

TEST_F(Value, HasTheOperationsOfAnAtomic) {
  value<int> n{5};
  n.store(6);
  EXPECT_EQ(n.exchange(7), 6);
  EXPECT_EQ(n.fetch_add(3), 7);
  EXPECT_EQ(n.fetch_sub(1), 10);
  EXPECT_EQ(n.fetch_and(0xC), 9);
  EXPECT_EQ(n.fetch_or(1), 8);
  EXPECT_EQ(n.fetch_xor(3), 9);
  int expected = 1;
  EXPECT_FALSE(n.compare_exchange(expected, 2));
  EXPECT_EQ(expected, 10);
  EXPECT_TRUE(n.compare_exchange(expected, 2));
  EXPECT_EQ(n.load(), 2);
  value<double> d{0.5};
  EXPECT_EQ(d.fetch_add(1.0), 0.5);
  EXPECT_EQ(d.load(), 1.5);
}

TEST_F(Value, HasThemForLargeTypesUnderItsLock) {
  value<point> p;
  p.store({1, 1, 1});
  EXPECT_EQ(p.exchange({2, 2, 2}), (point{1, 1, 1}));
  point expected{9, 9, 9};
  EXPECT_FALSE(p.compare_exchange(expected, {}));
  EXPECT_EQ(expected, (point{2, 2, 2}));
  EXPECT_TRUE(p.compare_exchange(expected, {3, 3, 3}));
  EXPECT_EQ(p.lock()->tag, 3);
  const auto held = p.lock();
  EXPECT_THROW(static_cast<void>(p.load()), std::system_error) << "this thread has the lock";
}

/// Has no operator==, and no padding.
struct pair_of_words {
  std::int64_t first = 0;
  std::int64_t second = 0;
};

TEST_F(Value, ComparesTheBytesOfATypeWithoutEquality) {
  value<pair_of_words> p{pair_of_words{1, 2}};
  pair_of_words expected{1, 3};
  EXPECT_FALSE(p.compare_exchange(expected, {7, 7}));
  EXPECT_EQ(expected.second, 2);
  EXPECT_TRUE(p.compare_exchange(expected, {7, 8}));
  EXPECT_EQ(p.load().second, 8);
}

TEST_F(Value, CountsRightByEveryWay) {
  value<int> guarded;
  value<int> atomic;
  const auto add = [&] {
    for (int i = 0; i < 3000; ++i) {
      ++*guarded.lock();
      atomic.fetch_add(1);
    }
    return 0;
  };
  forked one{add};
  forked two{add};
  std::jthread thread{[&] { add(); }};
  add();
  thread.join();
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(two.wait(), 0);
  EXPECT_EQ(*guarded.lock(), 12000);
  EXPECT_EQ(atomic.load(), 12000);
}

TEST_F(Value, AGuardHoldsTheLockAndItsValue) {
  auto guard = value<int>{5}.lock();
  EXPECT_EQ(*guard, 5) << "the handle is gone, the value is not";
  value<int> n{1};
  {
    auto held = n.lock();
    EXPECT_THROW(static_cast<void>(n.lock()), std::system_error);
    auto moved = std::move(held);
    *moved = 2;
  }
  EXPECT_EQ(*n.lock(), 2);
}

TEST_F(Value, TellsTheNextThatItsHolderDied) {
  value<point> p;
  signpost half;
  forked writer{[&]() -> int {
    auto g = p.lock();
    g->x = 100;
    half.reached();
    return test::sleep_until_killed();
  }};
  half.await();
  writer.signal(9);
  {
    auto g = p.lock();
    EXPECT_TRUE(g.inherited());
    EXPECT_EQ(g->x, 100) << "what it wrote stays for the next one to judge";
    g->x = 1;
    g.recovered();
  }
  EXPECT_FALSE(p.lock().inherited());
}

TEST_F(Value, Crosses) {
  value<int> n{1};
  raw_value<int> raw{1};
  value<int> n2 = crossed(n);
  raw_value<int> raw2 = crossed(raw);
  n2.store(5);
  *raw2 = 6;
  EXPECT_EQ(n.load(), 5);
  EXPECT_EQ(*raw, 6);
  EXPECT_EQ(n, n2);
  EXPECT_EQ(raw, raw2);
}

TEST_F(Array, BeginsWithWhatItIsGiven) {
  const array<int> empty;
  EXPECT_EQ(empty.size(), 0U);
  const array<int> zeros(1000);
  EXPECT_EQ(zeros.to_vector(), std::vector<int>(1000));
  const array<double> listed{1.5, 2.5};
  EXPECT_EQ(listed.to_vector(), (std::vector<double>{1.5, 2.5}));
  const array<int> from_vector(std::vector<int>{1, 2, 3}, {.name = "three"});
  EXPECT_EQ(from_vector.to_vector(), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(from_vector.name(), "three");
  const array from_view(std::views::iota(0, 4));
  EXPECT_EQ(from_view.to_vector(), (std::vector<int>{0, 1, 2, 3}));
  std::istringstream text{"7 8 9"};
  const array<int> from_input{std::views::istream<int>(text)};
  EXPECT_EQ(from_input.to_vector(), (std::vector<int>{7, 8, 9}));
  const raw_array<char> raw(std::string{"abc"});
  EXPECT_EQ(std::string(raw.begin(), raw.end()), "abc");
}

TEST_F(Array, FromASizeIsZeroEachTime) {
  for (int round = 0; round < 3; ++round) {
    raw_array<int> a(5000);
    ASSERT_TRUE(std::ranges::all_of(a, [](int x) { return x == 0; }));
    std::ranges::fill(a, 7);
  }
}

TEST_F(Array, RefusesSizesThatMakeNoSense) {
  EXPECT_THROW(array<int>(-1), std::invalid_argument);
  EXPECT_THROW((raw_array<int>(std::numeric_limits<std::int64_t>::min())), std::invalid_argument);
  EXPECT_THROW((array<int>(std::numeric_limits<std::uint64_t>::max())), std::length_error);
  EXPECT_THROW(array<int>(std::numeric_limits<std::int64_t>::max() / 2), std::length_error);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [] {
    return array<char>(std::int64_t{1} << 60);
  })) << "more than any machine has";
}

TEST_F(Array, ItsGuardIsARangeWithTheLock) {
  array<int> a{3, 1, 2};
  {
    auto g = a.lock();
    std::ranges::sort(g);
    for (int& x : g) {
      x = -x;
    }
    EXPECT_EQ(g[0], -1);
    EXPECT_EQ(g.at(2), -3);
    EXPECT_THROW(static_cast<void>(g.at(3)), std::out_of_range);
    const std::span<int> span = g;
    EXPECT_EQ(span.size(), 3U);
    EXPECT_THROW(static_cast<void>(a.lock()), std::system_error);
    EXPECT_THROW(static_cast<void>(a.to_vector()), std::system_error);
  }
  EXPECT_EQ(a[1], -2);
  EXPECT_THROW(static_cast<void>(a.at(3)), std::out_of_range);
  EXPECT_EQ(a.to_vector(), (std::vector<int>{-1, -2, -3}));
}

TEST_F(Array, IsAssignedWholeOrNotAtAll) {
  array<int> a(3);
  a.assign(std::vector{1, 2, 3});
  EXPECT_EQ(a.to_vector(), (std::vector{1, 2, 3}));
  EXPECT_THROW(a.assign(std::vector{1, 2}), std::length_error);
  EXPECT_THROW(a.assign(std::views::iota(0, 4)), std::length_error);
  EXPECT_EQ(a.to_vector(), (std::vector{1, 2, 3}));
  raw_array<int> raw(2);
  raw.assign(std::array{8, 9});
  EXPECT_EQ(raw.to_vector(), (std::vector{8, 9}));
  EXPECT_THROW(static_cast<void>(raw.at(2)), std::out_of_range);
}

TEST_F(Array, AWrongIndexEndsADebugBuild) {
#ifdef NDEBUG
  GTEST_SKIP() << "not a debug build";
#endif
  const raw_array<int> raw(3);
  const array<int> locked(3);
  const auto end_of = [](const auto& access) {
    return forked{[&] {
             access();
             return 0;
           }}
        .wait();
  };
  EXPECT_EQ(end_of([&] { raw[2] = 1; }), 0);
  EXPECT_EQ(end_of([&] { raw[3] = 1; }), 1000 + SIGABRT);
  EXPECT_EQ(end_of([&] { locked[3] = 1; }), 1000 + SIGABRT);
  EXPECT_EQ(end_of([&] { locked.lock()[3] = 1; }), 1000 + SIGABRT);
}

TEST_F(Array, IsSharedWithAllThatHaveIt) {
  array<double> a{1, 2, 3};
  raw_array<int> raw(3);
  forked child{[&] {
    for (double& x : a.lock()) {
      x = -x;
    }
    std::iota(raw.begin(), raw.end(), 1);
    return 0;
  }};
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(a.to_vector(), (std::vector<double>{-1, -2, -3}));
  EXPECT_EQ(raw.to_vector(), (std::vector{1, 2, 3}));
}

TEST_F(Array, TellsTheNextThatItsHolderDied) {
  array<int> a(2);
  forked writer{[&]() -> int {
    const auto g = a.lock();
    g[0] = 1;
    ::_exit(0);
  }};
  EXPECT_EQ(writer.wait(), 0);
  auto g = a.lock();
  EXPECT_TRUE(g.inherited());
  g.recovered();
  EXPECT_FALSE(g.inherited());
}

TEST_F(Array, Crosses) {
  array<int> a{1, 2};
  raw_array<int> raw{3, 4};
  array<int> a2 = crossed(a);
  const raw_array<int> raw2 = crossed(raw);
  a2[0] = 10;
  raw2[0] = 30;
  EXPECT_EQ(a[0], 10);
  EXPECT_EQ(raw[0], 30);
  EXPECT_EQ(a, a2);
  EXPECT_EQ(crossed(array<int>{}).size(), 0U);
}

TEST_F(Array, HoldsABillionBytes) {
  std::ifstream meminfo{"/proc/meminfo"};
  std::string word;
  std::int64_t available_kib = 0;
  while (meminfo >> word && word != "MemAvailable:") {
  }
  meminfo >> available_kib;
  if (available_kib < 3'000'000) {
    GTEST_SKIP() << "the machine has no 3 GB to spare";
  }
  const raw_array<char> big(1'000'000'000);
  big[999'999'999] = 'x';
  forked child{[&] { return big[999'999'999] == 'x' && big.size() == 1'000'000'000 ? 0 : 1; }};
  EXPECT_EQ(child.wait(), 0);
}

// ---- made at the first use ---------------------------------------------------------------------

/// While a value is being decoded, default handles are made at their first use.
class ValueInDecoding : public test::shared_objects {
 protected:
  template <class T>
  static value<T> unused() {
    const detail::attachment_list none;
    const detail::attachment_source decoding{none};
    return {};
  }
};

TEST_F(ValueInDecoding, AnyStepMayBeTheFirst) {
  EXPECT_EQ(unused<int>().load(), 0);
  EXPECT_EQ(unused<int>().exchange(3), 0);
  EXPECT_EQ(unused<std::uint8_t>().fetch_and(0xF), 0);
  const auto after = [](auto number, auto step) {
    step(number);
    return number.load();
  };
  EXPECT_EQ(after(unused<int>(), [](auto& n) { n.store(-7); }), -7);
  EXPECT_EQ(after(unused<std::int8_t>(), [](auto& n) { n.fetch_sub(1); }), -1);
  EXPECT_EQ(after(unused<std::uint16_t>(), [](auto& n) { n.fetch_or(6); }), 6);
  EXPECT_EQ(after(unused<std::int64_t>(), [](auto& n) { n.fetch_xor(-1); }), -1);
  EXPECT_EQ(after(unused<float>(), [](auto& n) { n.fetch_add(0.5F); }), 0.5F);
  EXPECT_EQ(after(unused<double>(), [](auto& n) { n.fetch_sub(0.25); }), -0.25);
  EXPECT_EQ(after(unused<bool>(), [](auto& n) { n.store(true); }), true);
}

TEST_F(ValueInDecoding, AComparisonMayBeTheFirstStep) {
  value<int> equal = unused<int>();
  int expected = 0;
  EXPECT_TRUE(equal.compare_exchange(expected, 4));
  EXPECT_EQ(equal.load(), 4);
  value<int> other = unused<int>();
  expected = 9;
  EXPECT_FALSE(other.compare_exchange(expected, 4));
  EXPECT_EQ(expected, 0);
  EXPECT_EQ(other.load(), 0);
}

TEST_F(ValueInDecoding, ThatNeedsItsLockIsMadeByAnyOperation) {
  EXPECT_EQ(unused<point>().load(), (point{1, 2, 3})) << "as T{} has it";
  EXPECT_EQ(unused<point>().exchange(point{4, 5, 6}), (point{1, 2, 3}));
  value<point> stored = unused<point>();
  stored.store({7, 8, 9});
  EXPECT_EQ(stored.load(), (point{7, 8, 9}));
  value<point> guarded = unused<point>();
  guarded.lock()->tag = 10;
  EXPECT_EQ(guarded.load().tag, 10);
  value<int> counted = unused<int>();
  ++*counted.lock();
  EXPECT_EQ(counted.load(), 1);
}

TEST_F(ValueInDecoding, CopiesMadeBeforeTheFirstUseAreTheSameValue) {
  value<int> first = unused<int>();
  value<int> second = first;
  first.store(5);
  EXPECT_EQ(second.fetch_add(1), 5);
  EXPECT_EQ(first.load(), 6);
}

}  // namespace
}  // namespace troupe
