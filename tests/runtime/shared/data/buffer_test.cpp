// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/buffer.hpp"

#include "troupe/connection.hpp"
#include "troupe/error.hpp"
#include "troupe/queue.hpp"

#include "runtime/shared/crossing_handles.hpp"
#include "runtime/shared/shared_fixture.hpp"
#include "support/fails_with.hpp"
#include "support/no_descriptors.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using test::crossed;
using test::fails_with;
using test::forked;
using test::pack;
using test::parcel;
using test::signpost;
using test::unpack;

static_assert(std::ranges::contiguous_range<buffer<double>>);
static_assert(std::ranges::contiguous_range<const buffer<double>>);
static_assert(std::is_same_v<std::ranges::range_reference_t<const buffer<int>>, const int&>);
static_assert(std::is_nothrow_move_constructible_v<buffer<int>>);
static_assert(serializable<buffer<int>>);

struct point {
  int x = 7;
  int y = 8;
};
struct without_default {
  explicit without_default(int given) : number{given} {}
  int number;
};

/// What two processes have to do with it after each other, and what it is inside of.
struct picture {
  std::string name;
  std::optional<buffer<std::uint8_t>> pixels;
  std::map<int, std::vector<buffer<float>>> layers;

  template <class Archive>
  void serialize(Archive& ar) {
    ar(name, pixels, layers);
  }
};

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
/// Bytes of memory that the process has of what the descriptor is of, mapped or not.
std::size_t allocated_bytes(int number) {
  struct stat info{};
  return ::fstat(number, &info) == 0 ? static_cast<std::size_t>(info.st_blocks) * 512 : 0;
}

class Buffer : public test::shared_objects {};

/// In a process that keeps segments, as workers and programs with pools do.
class KeptBuffer : public test::shared_objects {
 protected:
  KeptBuffer() { detail::begin_keeping_buffers(); }
  ~KeptBuffer() override { detail::end_keeping_buffers(); }
};

TEST_F(Buffer, HasElementsThatAreWrittenAndRead) {
  buffer<double> b(1000);
  EXPECT_EQ(b.size(), 1000U);
  EXPECT_EQ(b.size_bytes(), 8000U);
  EXPECT_EQ(b.bytes().size(), 8000U);
  EXPECT_FALSE(b.empty());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.data()) % 4096, 0U);
  std::iota(b.begin(), b.end(), 0.5);
  EXPECT_EQ(b[999], 999.5);
  EXPECT_EQ(b.span().back(), 999.5);
  const buffer<double>& same = b;
  EXPECT_EQ(same.data(), b.data());
  EXPECT_EQ(std::accumulate(same.begin(), same.end(), 0.0), 500'000.0);
  const std::span<const double> view = same;
  EXPECT_EQ(view.size(), 1000U);
  std::ranges::sort(b, std::greater<>{});
  EXPECT_EQ(same.span().front(), 999.5);
  EXPECT_EQ(same.at(1), 998.5);
}

TEST_F(Buffer, WithoutElementsHasNoMemory) {
  for (const buffer<int>& b : {buffer<int>{}, buffer<int>(0), buffer<int>{std::vector<int>{}},
                               crossed(buffer<int>{}), crossed(buffer<int>(0))}) {
    EXPECT_TRUE(b.empty());
    EXPECT_EQ(b.data(), nullptr);
    EXPECT_EQ(b.begin(), b.end());
    EXPECT_TRUE(b.bytes().empty());
    EXPECT_EQ(b, buffer<int>{});
  }
}

TEST_F(Buffer, IsFilledWithAValueOrARange) {
  EXPECT_TRUE(std::ranges::all_of(buffer<int>(5000, 3), [](int n) { return n == 3; }));
  EXPECT_TRUE(std::ranges::equal(buffer{std::vector{1, 2, 3}}, std::array{1, 2, 3}));
  EXPECT_TRUE(std::ranges::equal(buffer<double>{std::list{1, 2}}, std::array{1.0, 2.0}));
  EXPECT_TRUE(std::ranges::equal(buffer<int>{std::views::iota(0, 4)}, std::array{0, 1, 2, 3}));
  std::istringstream text{"4 5 6"};
  EXPECT_TRUE(std::ranges::equal(buffer<int>{std::views::istream<int>(text)}, std::array{4, 5, 6}));
}

TEST_F(Buffer, ElementsAreMadeAsTheirTypeSays) {
  const buffer<point> points(100);
  EXPECT_TRUE(std::ranges::all_of(points, [](const point& p) { return p.x == 7 && p.y == 8; }));
  const buffer<without_default> others(10, without_default{5});
  EXPECT_EQ(others[9].number, 5);
}

TEST_F(Buffer, CopiesAreTheSameElements) {
  buffer<int> b = counted(10);
  buffer<int> copy = b;
  copy[3] = 42;
  EXPECT_EQ(b[3], 42);
  EXPECT_EQ(copy, b);
  EXPECT_NE(counted(10), counted(10)) << "the same memory, not equal elements";
  b = counted(5);
  EXPECT_EQ(copy[3], 42) << "and each copy keeps them";
}

TEST_F(Buffer, AMovedFromOneIsEmpty) {
  buffer<int> b = counted(10);
  const int* const where = b.data();
  buffer<int> moved = std::move(b);
  EXPECT_EQ(moved.data(), where);
  EXPECT_TRUE(b.empty());  // NOLINT(bugprone-use-after-move): what this test is about
  EXPECT_EQ(b.data(), nullptr);
  b = std::move(moved);
  EXPECT_EQ(b.data(), where);
  buffer<int>& itself = b;
  b = std::move(itself);
  EXPECT_EQ(b.size(), 10U);
}

TEST_F(Buffer, NumbersThatMakeNoSenseAreRefused) {
  EXPECT_THROW(buffer<int>(-1), std::invalid_argument);
  EXPECT_THROW(buffer<int>{std::numeric_limits<std::size_t>::max()}, std::length_error);
  EXPECT_THROW(buffer<double>(std::size_t{1} << 61), std::length_error);
  const buffer<int> b = counted(3);
  EXPECT_THROW(static_cast<void>(b.at(3)), std::out_of_range);
  EXPECT_THROW(static_cast<void>(buffer<int>{}.at(0)), std::out_of_range);
}

TEST_F(Buffer, AnIndexBeyondTheEndEndsADebugBuild) {
  forked child{[] {
    ::close(2);
    buffer<int> b = counted(3);
    std::size_t beyond = b.size();
    b[beyond] = 1;
    return 0;
  }};
#ifdef NDEBUG
  EXPECT_EQ(child.wait(), 0);
#else
  EXPECT_EQ(child.wait(), 1000 + SIGABRT);
#endif
}

TEST_F(Buffer, MoreThanIsFreeIsAnErrorAndNoSignal) {
  EXPECT_TRUE(
      fails_with(errc::resource_exhausted, [] { return buffer<char>(std::size_t{1} << 45); }));
  detail::failpoint::arm("memory.allocate", detail::failpoint::action::give_errno, 1, 2, ENOSPC);
  EXPECT_TRUE(fails_with(errc::resource_exhausted, [] { return buffer<char>(10); }));
  EXPECT_EQ(counted(10)[9], 9) << "and costs nothing else";
}

TEST_F(Buffer, CrossesAsTheSameMemoryThatAllWrite) {
  buffer<int> b = counted(10'000);
  buffer<int> arrived = crossed(b);
  EXPECT_EQ(arrived, b) << "one process maps it once";
  const parcel packed = pack(b);
  EXPECT_LT(packed.bytes.size(), 64U);
  signpost wrote;
  signpost read;
  forked other{[&] {
    buffer<int> there = unpack<buffer<int>>(packed);
    if (!is_counted(there)) {
      return 1;
    }
    there[7] = 70;
    wrote.reached();
    read.await();
    return there[8] == 80 ? 0 : 2;
  }};
  wrote.await();
  EXPECT_EQ(b[7], 70);
  b[8] = 80;
  read.reached();
  EXPECT_EQ(other.wait(), 0);
}

TEST_F(Buffer, CrossesInsideOfOtherValues) {
  picture sent{"cat", buffer<std::uint8_t>(100, 9), {{1, {buffer<float>(5, 0.5F)}}, {2, {}}}};
  sent.layers[2].push_back(sent.layers[1][0]);
  const picture arrived = crossed(sent);
  EXPECT_EQ(arrived.name, "cat");
  EXPECT_EQ(arrived.pixels, sent.pixels);
  EXPECT_EQ(arrived.layers, sent.layers);
  EXPECT_EQ(pack(sent).attachments.size(), 2U) << "the same one is one descriptor";
}

TEST_F(Buffer, CrossesAgainFromWhereItArrived) {
  signpost arrived;
  queue<buffer<int>> there;
  queue<buffer<int>> back;
  forked between{[&] {
    back.put(there.get());
    return 0;
  }};
  {
    buffer<int> b = counted(100'000);
    there.put(b);
    b = buffer<int>{};  // only the message and the other process have it
    const buffer<int> again = back.get();
    EXPECT_TRUE(is_counted(again));
    EXPECT_EQ(again.size(), 100'000U);
  }
  EXPECT_EQ(between.wait(), 0);
}

TEST_F(Buffer, WaitsInAQueueWithoutItsMaker) {
  const queue<buffer<int>> items;
  signpost done;
  forked maker{[&] {
    for (int i = 1; i <= 20; ++i) {
      items.put(counted(i * 1000));
    }
    done.reached();
    return test::sleep_until_killed();
  }};
  done.await();
  EXPECT_EQ(maker.kill(), 1000 + SIGKILL);
  for (std::size_t i = 1; i <= 20; ++i) {
    const buffer<int> one = items.get();
    EXPECT_EQ(one.size(), i * 1000);
    EXPECT_TRUE(is_counted(one));
  }
}

TEST_F(Buffer, CrossesInAMessageOfAConnection) {
  auto [here, there] = pipe();
  signpost ready;
  forked other{[&, &end = there] {
    buffer<int> b = counted(1'000'000);
    end.send(std::pair{std::string{"numbers"}, b});
    b = buffer<int>{};
    return end.recv<int>();
  }};
  const auto [name, arrived] = here.recv<std::pair<std::string, buffer<int>>>();
  EXPECT_EQ(name, "numbers");
  EXPECT_EQ(arrived.size(), 1'000'000U);
  EXPECT_TRUE(is_counted(arrived));
  here.send(0);
  EXPECT_EQ(other.wait(), 0);
}

TEST_F(Buffer, InAVariableOfAForkedChildGoesOnAndCrossesFromThere) {
  buffer<int> b = counted(1000);
  const queue<buffer<int>> back;
  forked child{[&] {
    b[0] = 1;
    back.put(b);
    b = buffer<int>{};
    return 0;
  }};
  const buffer<int> arrived = back.get();
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(arrived, b);
  EXPECT_EQ(b[0], 1);
}

TEST_F(Buffer, PlainBytesCannotCarryIt) {
  const buffer<int> b = counted(10);
  EXPECT_TRUE(fails_with(errc::argument_encode_failed, [&] { return encode(b); }));
  EXPECT_TRUE(decode<buffer<int>>(encode(buffer<int>{})).empty());
}

TEST_F(Buffer, OfAnotherTypeOrOfNoneIsRefused) {
  const parcel ints = pack(counted(10));
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return unpack<buffer<unsigned>>(ints); }));
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return unpack<buffer<double>>(ints); }));

  parcel longer = ints;
  longer.bytes[2] = std::byte{1};  // 65,546 elements
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return unpack<buffer<int>>(longer); }));
  longer.bytes[7] = std::byte{0xFF};
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return unpack<buffer<int>>(longer); }));

  parcel shrinks = ints;
  detail::descriptor unsealed{::memfd_create("troupe-unsealed", MFD_CLOEXEC)};
  ASSERT_EQ(::ftruncate(unsealed.number(), 4096), 0);
  shrinks.attachments[0] =
      std::make_shared<test::arrived_attachment>(ints.attachments[0]->id(), std::move(unsealed));
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return unpack<buffer<int>>(shrinks); }));

  parcel no_memory = ints;
  no_memory.attachments[0] = std::make_shared<test::arrived_attachment>(
      ints.attachments[0]->id(), detail::descriptor{::open("/dev/null", O_RDWR | O_CLOEXEC)});
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return unpack<buffer<int>>(no_memory); }));
}

TEST_F(Buffer, MemoryThatCameWithTheIdOfAnotherIsNotTakenForThat) {
  const buffer<int> mine = counted(10);
  buffer<int> other(10, 5);
  parcel forged = pack(mine);
  forged.attachments[0] = std::make_shared<test::arrived_attachment>(
      forged.attachments[0]->id(),
      detail::descriptor{::fcntl(pack(other).attachments[0]->number(), F_DUPFD_CLOEXEC, 3)});
  const buffer<int> arrived = unpack<buffer<int>>(forged);
  EXPECT_NE(arrived, mine);
  EXPECT_EQ(arrived[0], 5);
}

TEST_F(Buffer, WithoutADescriptorForWhatCrossesItsFirstOneCrosses) {
  detail::failpoint::arm("buffer.token", detail::failpoint::action::give_errno, 1, 1, EMFILE);
  const buffer<int> b = counted(10);
  EXPECT_EQ(crossed(b), b);
  EXPECT_EQ(crossed(b), b);
}

TEST_F(Buffer, WithoutDescriptorsIsAnErrorAndNothingIsLost) {
  buffer<int> b = counted(1000);
  const queue<buffer<int>> items;
  items.put(b);
  b = buffer<int>{};
  {
    const test::no_descriptors none;
    EXPECT_TRUE(fails_with(errc::resource_exhausted, [] { return counted(10); }));
    EXPECT_TRUE(fails_with(errc::resource_exhausted, [&] { return items.get(); }));
  }
  EXPECT_TRUE(is_counted(items.get())) << "the item stayed in the queue";
}

TEST_F(KeptBuffer, ManyThreadsMakeSendAndReceiveAtOnce) {
  const buffer<int> shared = counted(5000);
  const queue<buffer<int>> items;
  std::vector<std::jthread> all;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 4; ++i) {
    all.emplace_back([&] {
      for (int round = 0; round < 100; ++round) {
        items.put(counted(1000 + round * 10));
        wrong += is_counted(crossed(shared)) && is_counted(items.get()) ? 0 : 1;
      }
    });
  }
  all.clear();
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(items.empty());
}

// ---- memory that is used again ------------------------------------------------------------------

TEST_F(KeptBuffer, MemoryOfAnEndedOneIsUsedAgain) {
  const int* const first = counted(100'000).data();
  EXPECT_EQ(counted(100'000).data(), first);
  EXPECT_EQ(counted(99'000).data(), first);
  EXPECT_NE(counted(10'000).data(), first) << "most of it would be wasted";
}

TEST_F(KeptBuffer, MemoryIsNotUsedAgainWhileAMessageOrAnotherProcessHasIt) {
  std::optional<parcel> on_its_way;
  const int* first = nullptr;
  {
    const buffer<int> b = counted(100'000);
    first = b.data();
    on_its_way = pack(b);
  }
  EXPECT_NE(buffer<int>(100'000, -1).data(), first);
  EXPECT_TRUE(is_counted(unpack<buffer<int>>(*on_its_way)));
  signpost has_it;
  forked other{[&] {
    const buffer<int> there = unpack<buffer<int>>(*on_its_way);
    on_its_way.reset();
    has_it.reached();
    return test::sleep_until_killed();
  }};
  has_it.await();
  on_its_way.reset();
  EXPECT_NE(buffer<int>(100'000, -2).data(), first);
  EXPECT_EQ(other.kill(), 1000 + SIGKILL);
}

TEST_F(KeptBuffer, MemoryComesBackWhenTheLastOfAnotherProcessIsKilled) {
  const queue<buffer<int>> items;
  signpost has_it;
  forked other{[&] {
    const buffer<int> there = items.get();
    has_it.reached();
    return test::sleep_until_killed();
  }};
  const int* first = nullptr;
  {
    const buffer<int> b = counted(100'000);
    first = b.data();
    items.put(b);
  }
  has_it.await();
  EXPECT_EQ(other.kill(), 1000 + SIGKILL);
  EXPECT_EQ(counted(100'000).data(), first);
}

TEST_F(KeptBuffer, MemoryThatAForkedChildInheritedIsNotUsedAgain) {
  std::optional<buffer<int>> b = counted(100'000);
  signpost go_on;
  forked child{[&] {
    go_on.await();
    return is_counted(*b) ? 0 : 1;
  }};
  b.reset();
  const buffer<int> other(100'000, -1);
  go_on.reached();
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(KeptBuffer, AForkedChildUsesNothingOfWhatItsParentKept) {
  static_cast<void>(counted(100'000));
  forked child{[] {
    const buffer<int> b(100'000, -1);
    return b[0] == -1 ? 0 : 1;
  }};
  EXPECT_EQ(child.wait(), 0);
  const buffer<int> b(100'000);
  EXPECT_TRUE(is_counted(b)) << "the child has written to its parent's memory";
}

TEST_F(KeptBuffer, OneThatComesHomeIsMappedWhereItWas) {
  parcel packed;
  const int* first = nullptr;
  {
    const buffer<int> b = counted(100'000);
    first = b.data();
    packed = pack(b);
  }
  const buffer<int> home = unpack<buffer<int>>(packed);
  EXPECT_EQ(home.data(), first);
  packed = {};
  EXPECT_NE(buffer<int>(100'000, -1).data(), first);
  EXPECT_TRUE(is_counted(home));
}

TEST_F(KeptBuffer, TheSameSegmentIsMappedWhereItWasWhenItComesAgain) {
  const queue<buffer<int>> items;
  const queue<int> next;
  forked maker{[&] {
    detail::begin_keeping_buffers();
    while (next.get() != 0) {
      items.put(counted(100'000));
    }
    return 0;
  }};
  const auto receive = [&] {
    next.put(1);
    const buffer<int> arrived = items.get();
    EXPECT_TRUE(is_counted(arrived));
    return arrived.data();
  };
  const int* const first = receive();
  // It would get these addresses if they were free now.
  const std::size_t bytes = 400'000;
  void* const between = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_EQ(receive(), first);
  ::munmap(between, bytes);
  detail::drop_idle_buffers_of_others();
  static_cast<void>(receive());
  next.put(0);
  EXPECT_EQ(maker.wait(), 0);
}

TEST_F(Buffer, WhatIsKeptNoLongerLosesItsMemoryAlsoWhereItIsStillMapped) {
  const queue<buffer<int>> items;
  const queue<int> next;
  forked maker{[&] {
    detail::begin_keeping_buffers();
    items.put(counted(1'000'000));
    static_cast<void>(next.get());
    detail::end_keeping_buffers();
    next.put(2);
    return 0;
  }};
  detail::descriptor same;
  detail::begin_keeping_buffers();
  {
    const buffer<int> arrived = items.get();
    // Another open file of it, which counts as no holder.
    const parcel packed = pack(arrived);
    same.reset(::open(("/proc/self/fd/" + std::to_string(packed.attachments[0]->number())).c_str(),
                      O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(same);
  }
  EXPECT_GE(allocated_bytes(same.number()), 4'000'000U);
  next.put(1);
  EXPECT_EQ(maker.wait(), 0);
  EXPECT_EQ(allocated_bytes(same.number()), 0U);
  EXPECT_EQ(next.get(), 2);
  detail::end_keeping_buffers();
}

TEST_F(KeptBuffer, ItsDescriptorsAreGivenUpWhereThereAreNoOthers) {
  for (int i = 1; i <= 10; ++i) {
    static_cast<void>(counted(i * 100'000));
  }
  // So that no number below theirs is free.
  std::array<detail::descriptor, 50> others;
  for (detail::descriptor& one : others) {
    one.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
  const test::no_descriptors none;
  EXPECT_TRUE(is_counted(counted(3'000'000)));
}

TEST_F(KeptBuffer, AThousandOfAllSizesKeepFewDescriptorsAndLittleMemory) {
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator{"/proc/self/fd"},
                         std::filesystem::directory_iterator{});
  };
  const auto before = descriptors();
  for (int i = 0; i < 1000; ++i) {
    const buffer<int> b = crossed(counted(1 + i * 97 % 5000));
    EXPECT_TRUE(is_counted(b));
  }
  EXPECT_LE(descriptors(), before + 16);
}

}  // namespace
}  // namespace troupe
