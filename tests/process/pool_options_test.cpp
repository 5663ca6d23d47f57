// SPDX-License-Identifier: BSD-3-Clause
// Options out of range, a system too many, and payloads at, below and beyond the limit.
#include "troupe/detail/region.hpp"
#include "troupe/this_process.hpp"
#include "troupe/value.hpp"

#include "pool_fixture.hpp"

#include <signal.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <ranges>
#include <string>
#include <vector>

namespace troupe::test {
namespace {

struct PoolOptions : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(PoolOptions);

testing::AssertionResult refuses(const pool_options& bad, const std::string& name) {
  try {
    const pool p{bad};
  } catch (const std::invalid_argument& thrown) {
    if (std::string{thrown.what()}.find(name) == std::string::npos) {
      return testing::AssertionFailure() << "does not name " << name << ": " << thrown.what();
    }
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << "a pool was made";
}

TEST_P(PoolOptions, OutOfRangeAreRefusedByName) {
  for (const int workers :
       {-1, 0, 100'000, 4097, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()}) {
    SCOPED_TRACE(workers);
    EXPECT_TRUE(refuses(options(workers), ".workers"));
  }
  const auto with = [&](auto change) {
    pool_options bad = options();
    change(bad);
    return bad;
  };
  for (const int limit : {0, -1}) {
    EXPECT_TRUE(
        refuses(with([&](auto& o) { o.max_tasks_per_worker = limit; }), ".max_tasks_per_worker"));
  }
  EXPECT_TRUE(refuses(with([](auto& o) { o.task_defaults.retries = -1; }), "retries"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.task_defaults.timeout = -1ms; }), "timeout"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.task_defaults.timeout = 0ms; }), "timeout"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.task_defaults.grace = -1ms; }), "grace"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.grace = -1ms; }), ".grace"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.start_timeout = 0ms; }), ".start_timeout"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.start_timeout = -1ms; }), ".start_timeout"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.restart.intensity = -1; }), ".restart"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.restart.period = 0ms; }), ".restart"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.restart.start_attempts = 0; }), ".restart"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.restart.backoff = -1ms; }), ".restart"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.limits.intensity = -1; }), ".limits"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.limits.jitter = 2; }), ".limits"));
  EXPECT_TRUE(refuses(with([](auto& o) { o.max_payload_bytes = 0; }), ".max_payload_bytes"));
}

TEST_P(PoolOptions, OfOneSubmissionAreCheckedForEveryWayToSubmit) {
  pool p{options()};
  const std::vector<int> items{1, 2};
  for (const task_options& bad : {task_options{.retries = -1}, task_options{.timeout = 0ms},
                                  task_options{.timeout = -1ms}, task_options{.grace = -1ms}}) {
    EXPECT_THROW(p.with(bad).apply(square, 1), std::invalid_argument);
    EXPECT_THROW(static_cast<void>(p.with(bad).apply_async(square, 1)), std::invalid_argument);
    EXPECT_THROW(static_cast<void>(p.with(bad).try_apply_async(square, 1)), std::invalid_argument);
    EXPECT_THROW(p.with(bad).map(square, items), std::invalid_argument);
    EXPECT_THROW(static_cast<void>(p.with(bad).map_async(square, items)), std::invalid_argument);
    EXPECT_THROW(static_cast<void>(p.with(bad).imap(square, items).begin()), std::invalid_argument);
  }
  EXPECT_EQ(p.stats().submitted, 0U);
  EXPECT_EQ(p.apply(square, 2), 4);
}

/// Ends its worker at its first attempt.
int dies_once(const std::string& tries) {
  mark(tries);
  if (marks(tries) == 1) {
    ::raise(SIGKILL);
  }
  return static_cast<int>(marks(tries));
}

TEST_P(PoolOptions, OfASubmissionReplaceTheDefaultsAsAWhole) {
  pool_options how = options(1);
  how.task_defaults.retries = 1;
  pool p{how};
  EXPECT_EQ(p.apply(dies_once, file("by default")), 2) << "the defaults have a retry";
  EXPECT_THROW(p.with({.priority = 1}).apply(dies_once, file("with")), worker_lost);
  EXPECT_EQ(marks(file("with")), 1U);
}

TEST_P(PoolOptions, VeryLongTimesMeanForEver) {
  pool_options patient = options(1);
  patient.start_timeout = std::chrono::milliseconds::max();
  patient.grace = std::chrono::milliseconds::max();
  pool p{patient};
  EXPECT_EQ(p.with({.timeout = std::chrono::milliseconds::max(),
                    .grace = std::chrono::milliseconds::max()})
                .apply(square, 3),
            9);
  p.close();
  p.join();
}

TEST_P(PoolOptions, ManyWorkers) {
  pool p{options(24)};
  EXPECT_EQ(p.workers().size(), 24U);
  EXPECT_EQ(p.map(square, std::views::iota(0, 1000)).size(), 1000U);
}

TEST_P(PoolOptions, TheDefaultStartMethodIsTheOneThatWasSet) {
  const start_method before = get_start_method();
  set_start_method(GetParam());
  {
    pool p{{.workers = 1}};
    EXPECT_EQ(p.apply(square, 3), 9);
  }
  set_start_method(before);
}

TEST(PoolSystem, ASecondOneIsRefusedAndTheFirstGoesOn) {
  char name[] = "second";
  char* arguments[] = {name, nullptr};
  EXPECT_TRUE(fails_with(errc::already_bootstrapped, [&] {
    const troupe::system second{1, arguments};
    return 0;
  }));
  pool p{{.workers = 1}};
  EXPECT_EQ(p.apply(square, 3), 9);
}

// ---- limits of payloads -------------------------------------------------------------------------

struct PoolPayload : every_start_method {
 protected:
  [[nodiscard]] pool_options limited(std::uint64_t bytes) const {
    pool_options made = options(1);
    made.max_payload_bytes = bytes;
    return made;
  }
};
TROUPE_FOR_EVERY_START_METHOD(PoolPayload);

// What a string of this length takes on the wire beyond its characters.
std::size_t overhead() {
  return encode(std::string(100, 'x')).size() - 100;
}

std::size_t length_of(const std::string& text) {
  return text.size();
}
std::string text_of(std::size_t length) {
  return std::string(length, 'r');
}

TEST_P(PoolPayload, TheLimitIsExactForArguments) {
  for (const std::size_t limit : {1'000U, 100'000U, 1'000'000U}) {
    SCOPED_TRACE("limit " + std::to_string(limit));
    pool p{limited(limit)};
    const std::size_t fits = limit - overhead();
    EXPECT_EQ(p.apply(length_of, std::string(fits - 1, 'x')), fits - 1);
    EXPECT_EQ(p.apply(length_of, std::string(fits, 'x')), fits);
    try {
      p.apply(length_of, std::string(fits + 1, 'x'));
      ADD_FAILURE() << "one byte over the limit passed";
    } catch (const error& thrown) {
      EXPECT_EQ(thrown.code(), errc::payload_too_large);
      EXPECT_EQ(thrown.ran(), task_ran::no);
      EXPECT_NE(std::string{thrown.what()}.find(std::to_string(limit)), std::string::npos)
          << thrown.what();
      EXPECT_NE(std::string{thrown.what()}.find("arguments"), std::string::npos) << thrown.what();
    }
    EXPECT_EQ(p.apply(square, 3), 9);
  }
}

TEST_P(PoolPayload, TheLimitIsExactForResults) {
  for (const std::size_t limit : {1'000U, 100'000U, 1'000'000U}) {
    SCOPED_TRACE("limit " + std::to_string(limit));
    pool p{limited(limit)};
    const auto before = pids_of(p);
    const std::size_t fits = limit - overhead();
    EXPECT_EQ(p.apply(text_of, fits - 1).size(), fits - 1);
    EXPECT_EQ(p.apply(text_of, fits).size(), fits);
    try {
      p.apply(text_of, fits + 1);
      ADD_FAILURE() << "one byte over the limit passed";
    } catch (const error& thrown) {
      EXPECT_EQ(thrown.code(), errc::payload_too_large);
      EXPECT_EQ(thrown.ran(), task_ran::yes);
    }
    EXPECT_EQ(p.apply(square, 3), 9);
    EXPECT_EQ(pids_of(p), before);
  }
}

TEST_P(PoolPayload, EachPoolHasItsOwnLimit) {
  for (const std::size_t limit : {1'000U, 5'000U, 1'000U, 50'000U, 2'000U}) {
    pool p{limited(limit)};
    EXPECT_EQ(p.apply(length_of, std::string(limit - overhead(), 'x')), limit - overhead());
    EXPECT_TRUE(fails_with(errc::payload_too_large,
                           [&] { return p.apply(length_of, std::string(limit + 1, 'x')); }));
  }
}

TEST_P(PoolPayload, AnItemOfAMapBeyondTheLimitFailsTheMap) {
  pool p{limited(10'000)};
  const std::vector<std::string> items{"a", std::string(20'000, 'x'), "b"};
  EXPECT_TRUE(fails_with(errc::payload_too_large, [&] { return p.map(length_of, items); }));
  EXPECT_EQ(p.map(length_of, std::vector<std::string>(100, std::string(9'000, 'x'))).size(), 100U);
}

std::vector<std::uint32_t> pattern(std::size_t bytes, std::uint32_t seed) {
  std::vector<std::uint32_t> made(bytes / sizeof(std::uint32_t));
  std::uint32_t x = seed * 2654435761U + 1;
  for (std::uint32_t& word : made) {
    x = x * 1664525U + 1013904223U;
    word = x;
  }
  return made;
}
std::vector<std::uint32_t> complement(std::vector<std::uint32_t> words) {
  for (std::uint32_t& word : words) {
    word = ~word;
  }
  return words;
}

TEST_P(PoolPayload, LargeOnesArriveEqualBothWays) {
  pool p{options()};
  for (const std::size_t mib : {1U, 7U, 16U, 64U}) {
    SCOPED_TRACE(std::to_string(mib) + " MiB");
    const auto sent = pattern(mib << 20, static_cast<std::uint32_t>(mib));
    EXPECT_TRUE(p.apply(complement, sent) == complement(sent));
  }
}

TEST_P(PoolPayload, SizesAroundEveryBorderArriveEqual) {
  pool p{options()};
  for (const std::size_t border :
       {256U, 4096U, 16'384U, 48U * 1024U, 65'536U, 128U * 1024U, 1U << 20}) {
    for (int off = -40; off <= 40; off += 4) {
      const auto sent = pattern(border + static_cast<std::size_t>(off), 3);
      ASSERT_TRUE(p.apply(complement, sent) == complement(sent))
          << border << (off < 0 ? "" : "+") << off;
    }
  }
}

TEST_P(PoolPayload, ManyLargeOnesInParallelArriveEqual) {
  pool p{options()};
  std::vector<future<std::vector<std::uint32_t>>> all;
  for (std::uint32_t i = 0; i < 24; ++i) {
    all.push_back(p.apply_async(complement, pattern((i % 4 + 1) << 20, i)));
  }
  for (std::uint32_t i = 0; i < 24; ++i) {
    ASSERT_TRUE(all[i].get() == complement(pattern((i % 4 + 1) << 20, i))) << i;
  }
}

TEST_P(PoolPayload, MoreLargeResultsThanThereAreSlotsWaitToBeRead) {
  pool p{options()};
  std::vector<future<std::vector<std::uint32_t>>> all;
  for (std::uint32_t i = 0; i < 600; ++i) {
    all.push_back(p.apply_async(pattern, std::size_t{32 * 1024}, i));
  }
  for (std::uint32_t i = 0; i < 600; ++i) {
    ASSERT_TRUE(all[i].get() == pattern(32 * 1024, i)) << i;
  }
}

TEST_P(PoolPayload, AMapOfLargeItemsWithALargeCallable) {
  pool p{options()};
  std::vector<std::vector<std::uint32_t>> items;
  for (std::uint32_t i = 0; i < 40; ++i) {
    items.push_back(pattern(100'000, i));
  }
  const auto bound = pattern(1 << 20, 77);
  const auto sums = p.map(
      partial(
          [](const std::vector<std::uint32_t>& table, const std::vector<std::uint32_t>& item) {
            std::uint32_t sum = 0;
            for (std::size_t i = 0; i < item.size(); ++i) {
              sum += item[i] ^ table[i];
            }
            return sum;
          },
          bound),
      items);
  ASSERT_EQ(sums.size(), items.size());
  for (std::size_t k = 0; k < items.size(); ++k) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < items[k].size(); ++i) {
      sum += items[k][i] ^ bound[i];
    }
    EXPECT_EQ(sums[k], sum) << k;
  }
}

/// What one item of `large_callable` saw.
struct seen_table {
  std::int64_t pid = 0;
  int decoded = 0;  ///< tables that its process had decoded by then
  std::uint32_t word = 0;

  template <class Archive>
  void serialize(Archive& ar) {
    ar(pid, decoded, word);
  }
};

/// Too large for a frame.
struct large_callable {
  std::vector<std::uint32_t> table;
  std::optional<value<int>> object;
  static inline int decoded = 0;

  seen_table operator()(std::uint32_t at) const {
    return {this_process::pid(), decoded, table[at]};
  }
  template <class Archive>
  void save(Archive& ar) const {
    ar(table, object);
  }
  template <class Archive>
  void load(Archive& ar) {
    ar(table, object);
    ++decoded;
  }
};

template <class Results>
void expect_decoded_once(Results&& results, const std::vector<std::uint32_t>& table) {
  std::map<std::int64_t, int> decoded;
  std::uint32_t at = 0;
  for (const seen_table& one : results) {
    EXPECT_EQ(one.word, table[at++]) << "it is this map's table";
    EXPECT_EQ(decoded.emplace(one.pid, one.decoded).first->second, one.decoded)
        << "a worker decoded it again for item " << at - 1;
  }
  EXPECT_EQ(at, 200U);
}

// It was decoded for every message to a worker: a map of 2,000 items with 16 MiB bound took minutes.
TEST_P(PoolPayload, AWorkerDecodesALargeCallableOnceForAMap) {
  pool p{options()};
  const auto items = std::views::iota(std::uint32_t{0}, std::uint32_t{200});
  for (const std::uint32_t chunk : {0U, 1U, 7U}) {
    SCOPED_TRACE("chunk " + std::to_string(chunk));
    const large_callable first{pattern(1 << 16, 3 * chunk), {}};
    expect_decoded_once(p.map(first, items, {.chunk = chunk}), first.table);
    const large_callable second{pattern(1 << 16, 3 * chunk + 1), {}};
    expect_decoded_once(p.imap(second, items, {.chunk = chunk}), second.table);
    const large_callable third{pattern(1 << 16, 3 * chunk + 2), {}};
    expect_decoded_once(p.map_async(third, items, {.chunk = chunk}).get(), third.table);
  }
}

TEST_P(PoolPayload, WhatALargeCallableRefersToIsLetGoWhenItsMapIsOver) {
  pool p{options()};
  const large_callable what{pattern(1 << 16, 1), value<int>{7}};
  EXPECT_EQ(p.map(what, std::views::iota(std::uint32_t{0}, std::uint32_t{200})).size(), 200U);
  EXPECT_TRUE(eventually([&] {
    for (const object_info& one : detail::live_objects()) {
      if (one.id == what.object->id()) {
        return one.holders == 1;
      }
    }
    return false;
  })) << "a worker that has nothing to do holds it";
}

}  // namespace
}  // namespace troupe::test
