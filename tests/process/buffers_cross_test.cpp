// SPDX-License-Identifier: BSD-3-Clause
// Buffers cross with tasks, results, items and messages of real workers, and live as long as
// something has them.
#include "troupe/buffer.hpp"
#include "troupe/connection.hpp"
#include "troupe/process.hpp"
#include "troupe/queue.hpp"
#include "troupe/thread_pool.hpp"

#include "pool_fixture.hpp"
#include "support/no_descriptors.hpp"

#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test {
namespace {

buffer<int> counted(int count) {
  buffer<int> made(count);
  std::iota(made.begin(), made.end(), 0);
  return made;
}
bool is_counted(const buffer<int>& all) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i] != static_cast<int>(i)) {
      return false;
    }
  }
  return true;
}
std::size_t size_if_counted(const buffer<int>& all) {
  return is_counted(all) ? all.size() : 0;
}
buffer<int> pass_on(buffer<int> all) {
  return all;
}
void fill_part(buffer<int> all, int part) {
  const auto first = static_cast<std::size_t>(part) * 1000;
  std::iota(all.begin() + first, all.begin() + first + 1000, part * 1000);
}

struct scan {
  std::string name;
  std::map<int, std::vector<buffer<int>>> lines;
  std::optional<buffer<double>> none;

  template <class Archive>
  void serialize(Archive& ar) {
    ar(name, lines, none);
  }
};
scan extend(scan one) {
  one.name += "!";
  one.lines[9].push_back(counted(900));
  return one;
}

void put_counted(queue<buffer<int>> to, int count) {
  to.put(counted(count));
}
std::size_t get_counted(queue<buffer<int>> from) {
  return size_if_counted(from.get());
}
void send_counted(connection to, int count) {
  to.send(counted(count));
}
std::size_t receive_counted(connection from) {
  return size_if_counted(from.recv<buffer<int>>());
}
[[noreturn]] void die() {
  ::kill(::getpid(), SIGKILL);
  std::abort();
}
/// Writes half of it, and is killed.
void fill_and_die(buffer<int> all) {
  std::fill_n(all.begin(), all.size() / 2, 7);
  die();
}
std::optional<buffer<int>> kept;
void keep(buffer<int> one) {
  kept = std::move(one);
}
std::size_t size_of_kept() {
  return size_if_counted(kept.value());
}
struct BuffersCross : every_start_method {};
TROUPE_FOR_EVERY_START_METHOD(BuffersCross);

TEST_P(BuffersCross, AsAResult) {
  pool p{options()};
  for (const int count : {0, 1, 1000, 100'000, 4'000'000}) {
    const buffer<int> b = p.apply(counted, count);
    EXPECT_EQ(size_if_counted(b), static_cast<std::size_t>(count));
  }
  const future<buffer<int>> again = p.apply_async(counted, 1000);
  EXPECT_EQ(again.get(), again.get()) << "the same memory each time";
}

TEST_P(BuffersCross, AsAnArgumentThatAllWrite) {
  pool p{options()};
  buffer<int> b(10'000);
  p.starmap(fill_part, std::views::iota(0, 10) |
                           std::views::transform([&](int part) { return std::pair{b, part}; }));
  EXPECT_TRUE(is_counted(b));
  EXPECT_EQ(p.apply(size_if_counted, b), 10'000U);
}

TEST_P(BuffersCross, AgainWithoutACopy) {
  pool p{options()};
  const buffer<int> made = p.apply(counted, 100'000);
  EXPECT_EQ(p.apply(size_if_counted, made), 100'000U) << "into a worker, maybe another one";
  EXPECT_EQ(p.apply(pass_on, made), made) << "and back: the same memory here";
  const future<buffer<int>> later = p.apply_async(pass_on, counted(50'000));
  EXPECT_EQ(size_if_counted(later.get()), 50'000U) << "its maker has no handle meanwhile";
}

TEST_P(BuffersCross, InsideStructsAndContainers) {
  pool p{options()};
  scan one{"first", {{1, {counted(10), counted(20)}}, {2, {}}}, std::nullopt};
  const scan back = p.apply(extend, one);
  EXPECT_EQ(back.name, "first!");
  EXPECT_EQ(back.lines.at(1), one.lines.at(1));
  EXPECT_EQ(size_if_counted(back.lines.at(9).at(0)), 900U);
  EXPECT_FALSE(back.none.has_value());
}

TEST_P(BuffersCross, WithEveryItemOfAMap) {
  pool p{options()};
  std::vector<buffer<int>> made = p.map(counted, std::views::iota(1, 101));
  std::vector<std::size_t> sizes = p.map(size_if_counted, made);
  for (std::size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(made[i].size(), i + 1);
    EXPECT_EQ(sizes[i], i + 1);
  }
  std::size_t next = 1;
  for (const buffer<int>& one : p.imap(counted, std::views::iota(1, 51), {.chunk = 4})) {
    EXPECT_EQ(size_if_counted(one), next++);
  }
}

TEST_P(BuffersCross, ThroughQueuesAndConnections) {
  pool p{options()};
  const queue<buffer<int>> items;
  p.apply(put_counted, items, 5000);
  EXPECT_EQ(p.apply(get_counted, items), 5000U);
  items.put(counted(6000));
  EXPECT_EQ(p.apply(get_counted, items), 6000U);
  auto [here, there] = pipe();
  p.apply(send_counted, there, 7000);
  EXPECT_EQ(size_if_counted(here.recv<buffer<int>>()), 7000U);
  here.send(counted(8000));
  EXPECT_EQ(p.apply(receive_counted, there), 8000U);
}

TEST_P(BuffersCross, WithAProcess) {
  buffer<int> b(10'000);
  const queue<buffer<int>> items;
  process filler{{.name = "filler", .start = GetParam()}, fill_part, b, 3};
  process maker{{.name = "maker", .start = GetParam()}, put_counted, items, 5000};
  filler.start();
  maker.start();
  filler.join();
  maker.join();
  EXPECT_EQ(b[3999], 3999);
  EXPECT_EQ(size_if_counted(items.get()), 5000U);
}

TEST_P(BuffersCross, AMakerThatIsKilledTakesNothingWithIt) {
  pool p{options(1)};
  const buffer<int> made = p.apply(counted, 1'000'000);
  const queue<buffer<int>> items;
  p.apply(put_counted, items, 5000);
  EXPECT_THROW(p.apply(die), worker_lost);
  EXPECT_TRUE(is_counted(made));
  EXPECT_EQ(size_if_counted(items.get()), 5000U);
  EXPECT_EQ(p.apply(size_if_counted, made), 1'000'000U);
}

TEST_P(BuffersCross, AReceiverThatIsKilledLeavesWhatItWrote) {
  pool p{options(1)};
  buffer<int> b = counted(100'000);
  EXPECT_THROW(p.apply(fill_and_die, b), worker_lost);
  EXPECT_EQ(b[0], 7);
  EXPECT_EQ(b[49'999], 7);
  EXPECT_EQ(b[50'000], 50'000);
  EXPECT_EQ(p.apply(size_if_counted, counted(100'000)), 100'000U) << "not in the same memory";
}

TEST_P(BuffersCross, WhatAWorkerHasKeptIsNotUsedAgain) {
  pool p{options(1)};
  p.apply(keep, counted(100'000));
  for (int i = 0; i < 5; ++i) {
    buffer<int> other(100'000, -1);
    EXPECT_EQ(p.apply(size_if_counted, counted(100'000)), 100'000U);
  }
  EXPECT_EQ(p.apply(size_of_kept), 100'000U);
}

TEST_P(BuffersCross, ManyInARowKeepFewDescriptorsAndMappings) {
  pool p{options(1)};
  const auto open_here = [] {
    return static_cast<int>(std::distance(std::filesystem::directory_iterator{"/proc/self/fd"},
                                          std::filesystem::directory_iterator{}));
  };
  const auto mapped_here = [] {
    std::ifstream maps{"/proc/self/maps"};
    int found = 0;
    for (std::string line; std::getline(maps, line);) {
      found += line.find("troupe-payload") != std::string::npos ? 1 : 0;
    }
    return found;
  };
  p.apply(counted, 1000);
  const int open_there = p.apply(open_here);
  const int open_before = open_here();
  for (int i = 0; i < 300; ++i) {
    const buffer<int> one = p.apply(counted, 1000 + i * 500);
    EXPECT_EQ(p.apply(size_if_counted, one), one.size());
    EXPECT_EQ(p.apply(size_if_counted, counted(1 + i)), static_cast<std::size_t>(1 + i));
  }
  EXPECT_LE(p.apply(open_here), open_there + 16);
  EXPECT_LE(open_here(), open_before + 16);
  EXPECT_LE(p.apply(mapped_here), 2 * 16 + 2);
  EXPECT_LE(mapped_here(), 2 * 16 + 2);
}

TEST_P(BuffersCross, TooManyInOneResultIsAClearError) {
  pool p{options(1)};
  const auto make = [](int count) {
    std::vector<buffer<int>> made;
    for (int i = 0; i < count; ++i) {
      made.push_back(counted(10));
    }
    return made;
  };
  EXPECT_TRUE(fails_with(errc::payload_too_large, [&] { return p.apply(make, 65); }));
  EXPECT_EQ(p.apply(make, 64).size(), 64U) << "and costs nothing else";
  EXPECT_EQ(p.stats().deaths, 0U);
}

TEST_P(BuffersCross, WithoutDescriptorsOneFailsAndNothingElse) {
  if (address_sanitized) {
    GTEST_SKIP() << "UndefinedBehaviorSanitizer needs a free descriptor to look at an object";
  }
  pool p{options(1)};
  const buffer<int> b = counted(1000);
  p.apply([] {
    static no_descriptors none;
    static_cast<void>(none);
  });
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return p.apply(size_if_counted, b); }));
  EXPECT_THROW(static_cast<void>(p.apply(counted, 1000)), error);
  EXPECT_EQ(p.apply(square, 4), 16);
  EXPECT_EQ(p.stats().deaths, 0U);
  p.terminate();
  EXPECT_TRUE(is_counted(b));
}

TEST_P(BuffersCross, OneThatATaskHeldWhenItWasKilledIsThereForItsRetry) {
  pool p{options(1)};
  buffer<int> tries(1, 0);
  const auto count = [](buffer<int> all) {
    if (++all[0] < 3) {
      die();
    }
    return all[0];
  };
  EXPECT_EQ(p.with({.retries = 2}).apply(count, tries), 3);
  EXPECT_EQ(tries[0], 3);
}

struct BuffersOnThreads : pool_test {};

TEST_F(BuffersOnThreads, AreTheSameMemory) {
  thread_pool p{{.workers = 2}};
  const buffer<int> b = counted(1000);
  EXPECT_EQ(p.apply(pass_on, b), b);
  EXPECT_EQ(size_if_counted(p.apply(counted, 500)), 500U);
}

}  // namespace
}  // namespace troupe::test
