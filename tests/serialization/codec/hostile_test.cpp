// SPDX-License-Identifier: BSD-3-Clause
// Bytes that no encoder of ours wrote: an error, in little time and little memory, and nothing
// else.
#include "troupe/codec.hpp"
#include "troupe/detail/callable.hpp"
#include "troupe/error.hpp"

#include "support/fails_with.hpp"

#include <cereal/types/polymorphic.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <typeinfo>

namespace {

std::atomic<std::size_t> live_bytes{0};
std::atomic<std::size_t> peak_bytes{0};

// The size of each block is kept in front of it, in as many bytes as keep its alignment.
constexpr std::size_t header = alignof(std::max_align_t);

void* counted_allocate(std::size_t size) {
  void* const block = size > SIZE_MAX - header ? nullptr : std::malloc(size + header);
  if (block == nullptr) {
    throw std::bad_alloc{};
  }
  *static_cast<std::size_t*>(block) = size;
  const std::size_t live = live_bytes += size;
  std::size_t peak = peak_bytes;
  while (peak < live && !peak_bytes.compare_exchange_weak(peak, live)) {
  }
  return static_cast<std::byte*>(block) + header;
}

void counted_free(void* at) {
  if (at != nullptr) {
    void* const block = static_cast<std::byte*>(at) - header;
    live_bytes -= *static_cast<std::size_t*>(block);
    std::free(block);
  }
}

}  // namespace

void* operator new(std::size_t size) {
  return counted_allocate(size);
}
void* operator new[](std::size_t size) {
  return counted_allocate(size);
}
void operator delete(void* at) noexcept {
  counted_free(at);
}
void operator delete[](void* at) noexcept {
  counted_free(at);
}
void operator delete(void* at, std::size_t) noexcept {
  counted_free(at);
}
void operator delete[](void* at, std::size_t) noexcept {
  counted_free(at);
}

namespace troupe {
namespace {

using test::fails_with;

/// The most memory that was allocated at once beyond what was before, while `call` ran.
template <class Call>
std::size_t peak_of(Call&& call) {
  const std::size_t before = live_bytes;
  peak_bytes = before;
  call();
  return peak_bytes - before;
}

std::size_t allowed_for(std::size_t input) {
  return 2 * input + std::size_t{64} * 1024;
}

std::vector<std::byte> operator+(std::vector<std::byte> left, const std::vector<std::byte>& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

std::vector<std::byte> filled(std::size_t count, std::uint8_t byte) {
  return std::vector<std::byte>(count, static_cast<std::byte>(byte));
}

struct nothing {
  bool operator==(const nothing&) const = default;
};

enum class color : std::uint8_t { red, green, blue };
constexpr bool is_valid(color c) {
  return c <= color::blue;
}

/// Of which an empty one takes a byte.
using large_optional = std::optional<std::array<char, 1024>>;

/// One that takes nothing as bytes.
struct large_without_bytes {
  std::array<char, 4096> kept_here{};
  template <class Archive>
  void serialize(Archive& /*ar*/) {}
};

struct large_base {
  virtual ~large_base() = default;
  template <class Archive>
  void serialize(Archive& /*ar*/) {}
};
struct large_derived : large_base {
  std::array<char, 65536> kept_here{};
  template <class Archive>
  void serialize(Archive& /*ar*/) {}
};

struct link {
  std::unique_ptr<link> next;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(next);
  }
};

struct bush {
  std::vector<bush> branches;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(branches);
  }
};

/// One of everything, so that cutting and flipping bytes reaches every reader.
struct rich {
  std::uint32_t number = 7;
  bool flag = true;
  color shade = color::green;
  std::string text = "some text";
  std::vector<double> numbers{1, 2, 3};
  std::vector<std::string> words{"a", "bc", ""};
  std::vector<bool> bits{true, false, true};
  std::map<std::string, std::vector<int>> map{{"k", {1, 2}}, {"l", {}}};
  std::unordered_map<int, std::string> table{{1, "x"}};
  std::set<int> set{1, 2};
  std::optional<std::variant<int, std::string>> choice{"v"};
  std::unique_ptr<int> owned = std::make_unique<int>(4);
  std::shared_ptr<std::string> first = std::make_shared<std::string>("shared");
  std::shared_ptr<std::string> again = first;
  std::list<std::pair<int, char>> list{{1, 'a'}};
  std::array<bool, 2> flags{true, true};
  std::vector<nothing> nothings{nothing{}, nothing{}};
  std::bitset<5> five{21};
  failure why;
  void (*function)() = nullptr;
  int (std::string::*unused)() = nullptr;

  template <class Archive>
  void serialize(Archive& ar) {
    ar(number, flag, shade, text, numbers, words, bits, map, table, set, choice, owned, first,
       again, list, flags, nothings, five, why, function, unused);
  }
};

std::vector<std::byte> rich_message() {
  rich value;
  value.why.causes = {{"type", "text"}};
  value.why.frames = {{"module", 1}};
  value.owned = std::make_unique<int>(5);
  return encode(value);
}

template <class T>
void expect_refused(const char* what, const std::vector<std::byte>& bytes,
                    errc code = errc::protocol_error) {
  SCOPED_TRACE(what);
  const std::size_t peak =
      peak_of([&] { EXPECT_TRUE(fails_with(code, [&] { return decode<T>(bytes); })); });
  EXPECT_LT(peak, allowed_for(bytes.size()));
}

constexpr std::uint64_t hostile_lengths[] = {
    17,          1000,        70'000,      0x1fffffff,  1ULL << 29U, (1ULL << 31U) - 1, 1ULL << 31U,
    1ULL << 32U, 1ULL << 60U, 1ULL << 61U, 1ULL << 62U, 1ULL << 63U, ~0ULL - 7,         ~0ULL};

template <class T>
class HostileLength : public testing::Test {};

using Containers = testing::Types<
    std::string, std::wstring, std::u32string, std::vector<char>, std::vector<double>,
    std::vector<std::complex<double>>, std::vector<std::string>, std::vector<std::vector<int>>,
    std::vector<color>, std::vector<std::byte>, std::vector<std::pair<int, int>>, std::deque<int>,
    std::deque<std::string>, std::list<int>, std::forward_list<int>, std::set<int>,
    std::multiset<int>, std::unordered_set<int>, std::unordered_multiset<int>, std::map<int, int>,
    std::multimap<int, int>, std::unordered_map<int, int>, std::unordered_multimap<int, int>,
    std::vector<std::unique_ptr<int>>, std::vector<std::array<double, 1000>>, std::vector<link>>;
TYPED_TEST_SUITE(HostileLength, Containers);

TYPED_TEST(HostileLength, IsRefusedBeforeMemoryIsAllocatedForIt) {
  for (const std::uint64_t length : hostile_lengths) {
    SCOPED_TRACE(length);
    expect_refused<TypeParam>("nothing follows", encode(length));
    if (length > 100'000) {
      expect_refused<TypeParam>("something follows", encode(length) + filled(10'000, 0));
    }
  }
}

TYPED_TEST(HostileLength, IsRefusedInsideAnotherContainer) {
  for (const std::uint64_t length : hostile_lengths) {
    SCOPED_TRACE(length);
    expect_refused<std::vector<TypeParam>>("one", encode(std::uint64_t{1}) + encode(length));
    expect_refused<std::optional<TypeParam>>("maybe", encode(true) + encode(length));
  }
}

TEST(Hostile, BitsThatAreNotThere) {
  for (const std::uint64_t length : hostile_lengths) {
    SCOPED_TRACE(length);
    expect_refused<std::vector<bool>>("bits", encode(length) + filled(2, 0));
  }
}

TEST(Hostile, BitsBeyondTheLastElement) {
  expect_refused<std::vector<bool>>("vector", encode(std::uint64_t{3}) + filled(1, 0xff));
  expect_refused<std::bitset<3>>("bitset", filled(1, 0xff));
}

TEST(Hostile, BillionsOfElementsThatTakeNoBytes) {
  for (const std::uint64_t count :
       {std::uint64_t{1} << 17U, std::uint64_t{1} << 31U, ~std::uint64_t{0}}) {
    expect_refused<std::vector<nothing>>("vector", encode(count));
    expect_refused<std::list<nothing>>("list", encode(count));
    expect_refused<std::vector<std::monostate>>("monostate", encode(count));
    expect_refused<std::vector<std::tuple<>>>("tuple", encode(count));
    expect_refused<std::vector<std::array<int, 0>>>("array", encode(count));
  }
}

TEST(Hostile, ElementsThatTakeNoBytesAreCountedOverTheWholeMessage) {
  // 1,000 vectors that each announce what a single one may have.
  auto bytes = encode(std::uint64_t{1000});
  for (int i = 0; i < 1000; ++i) {
    bytes = std::move(bytes) + encode(std::uint64_t{60'000});
  }
  SCOPED_TRACE(bytes.size());
  const std::size_t peak = peak_of([&] {
    EXPECT_TRUE(fails_with(errc::protocol_error,
                           [&] { return decode<std::vector<std::vector<nothing>>>(bytes); }));
  });
  EXPECT_LT(peak, 4 * bytes.size() + std::size_t{256} * 1024)
      << "one budget of 64 Ki empty elements, doubled";
}

/// What a message may take in memory, see input_archive; and a vector that grows has its elements
/// twice for a moment, and room for as many.
std::size_t most_memory_for(std::size_t input) {
  return 4 * (128 * input + (std::size_t{64} << 20U));
}

template <class T>
void expect_refused_for_its_memory(const std::vector<std::byte>& bytes) {
  SCOPED_TRACE(typeid(T).name());
  std::string why;
  const std::size_t peak = peak_of([&] {
    try {
      static_cast<void>(decode<T>(bytes));
    } catch (const error& refused) {
      EXPECT_EQ(refused.code(), errc::protocol_error);
      why = refused.what();
    }
  });
  EXPECT_LT(peak, most_memory_for(bytes.size()));
  EXPECT_NE(why.find("more memory than 128 times its bytes and 64 MiB"), std::string::npos) << why;
}

TEST(Hostile, AFewBytesThatStandForMuchMemory) {
  constexpr std::size_t count = std::size_t{300} << 10U;
  const auto zeros = encode(std::uint64_t{count}) + filled(count, 0);
  expect_refused_for_its_memory<std::vector<large_optional>>(zeros);
  expect_refused_for_its_memory<std::deque<large_optional>>(zeros);
  expect_refused_for_its_memory<std::list<large_optional>>(zeros);
  expect_refused_for_its_memory<std::forward_list<large_optional>>(zeros);
  // Pointees, each behind a byte that says that it is there.
  auto pointers = encode(std::uint64_t{count / 2});
  for (std::size_t i = 0; i < count / 2; ++i) {
    pointers.push_back(std::byte{1});
    pointers.push_back(std::byte{0});
  }
  expect_refused_for_its_memory<std::vector<std::unique_ptr<large_optional>>>(pointers);
}

TEST(Hostile, MappedAndSharedValuesThatAreManyTimesTheirBytes) {
  constexpr std::uint32_t count = 200'000;
  detail::byte_buffer map;
  encode(map, std::uint64_t{count});
  detail::byte_buffer shared;
  encode(shared, std::uint64_t{count});
  for (std::uint32_t i = 0; i < count; ++i) {
    encode(map, i);
    encode(map, false);
    encode(shared, (i + 1) | 0x80000000U);
    encode(shared, false);
  }
  const std::vector<std::byte> map_bytes{map.bytes().begin(), map.bytes().end()};
  const std::vector<std::byte> shared_bytes{shared.bytes().begin(), shared.bytes().end()};
  expect_refused_for_its_memory<std::map<std::uint32_t, large_optional>>(map_bytes);
  expect_refused_for_its_memory<std::unordered_map<std::uint32_t, large_optional>>(map_bytes);
  expect_refused_for_its_memory<std::vector<std::shared_ptr<large_optional>>>(shared_bytes);
  expect_refused_for_its_memory<std::vector<large_without_bytes>>(encode(std::uint64_t{60'000}));
}

TEST(Hostile, PointersToClassesThatAreManyTimesTheirBytes) {
  constexpr int count = 2000;
  std::vector<std::unique_ptr<large_base>> unique;
  std::vector<std::shared_ptr<large_base>> shared;
  for (int i = 0; i < count; ++i) {
    unique.push_back(std::make_unique<large_derived>());
    shared.push_back(std::make_shared<large_derived>());
  }
  const auto unique_bytes = encode(unique);
  const auto shared_bytes = encode(shared);
  unique.clear();
  shared.clear();
  expect_refused_for_its_memory<std::vector<std::unique_ptr<large_base>>>(unique_bytes);
  expect_refused_for_its_memory<std::vector<std::shared_ptr<large_base>>>(shared_bytes);
}

TEST(Hostile, HonestElementsOfOneByteAreNotRefused) {
  // More than 64 MiB in memory: a node of a list takes 40 bytes for its one.
  const std::list<std::uint8_t> many(3'000'000, 7);
  EXPECT_EQ(decode<std::list<std::uint8_t>>(encode(many)).size(), many.size());
  using optionals = std::vector<std::optional<std::array<char, 120>>>;
  const optionals empty(600'000);
  EXPECT_EQ(decode<optionals>(encode(empty)).size(), empty.size());
}

TEST(Hostile, NestingOfTwoHundredKilobytes) {
  // Every byte is one more level: cereal alone overflows the stack here.
  expect_refused<link>("pointers", filled(200'000, 1), errc::nesting_too_deep);
  auto bytes = std::vector<std::byte>{};
  for (int i = 0; i < 25'000; ++i) {
    bytes = std::move(bytes) + encode(std::uint64_t{1});
  }
  expect_refused<bush>("vectors", bytes, errc::nesting_too_deep);
}

TEST(Hostile, ASharedObjectOfAnotherType) {
  using pair = std::pair<std::shared_ptr<std::string>, std::shared_ptr<double>>;
  const auto bytes = encode(std::pair{std::make_shared<std::string>("text"), std::uint32_t{1}});
  expect_refused<pair>("type", bytes);
  try {
    static_cast<void>(decode<pair>(bytes));
  } catch (const error& refused) {
    EXPECT_STREQ(
        refused.what(),
        "cannot decode a double at offset 20 of 20 bytes: the shared object 1 is a std::string");
  }
}

TEST(Hostile, ASharedObjectThatIsNotThereOrThereTwice) {
  using pair = std::pair<std::shared_ptr<int>, std::shared_ptr<int>>;
  expect_refused<std::shared_ptr<int>>("not there", encode(std::uint32_t{5}));
  expect_refused<std::shared_ptr<int>>("id zero", encode(0x80000000U) + encode(1));
  expect_refused<pair>("twice", encode(0x80000001U) + encode(1) + encode(0x80000001U) + encode(2));
}

TEST(Hostile, BoolsThatAreNeitherTrueNorFalse) {
  for (const auto byte : std::initializer_list<std::uint8_t>{2, 0x7f, 0x80, 0xff}) {
    expect_refused<bool>("bool", filled(1, byte));
    expect_refused<std::array<bool, 1>>("array", filled(1, byte));
    expect_refused<std::vector<std::array<bool, 2>>>("nested",
                                                     encode(std::uint64_t{1}) + filled(2, byte));
    expect_refused<std::optional<int>>("optional", filled(1, byte) + encode(1));
    expect_refused<std::unique_ptr<int>>("unique_ptr", filled(1, byte) + encode(1));
  }
}

TEST(Hostile, EnumsAndVariantsOutsideTheirRange) {
  expect_refused<color>("enum", filled(1, 3));
  expect_refused<std::vector<color>>("enums",
                                     encode(std::uint64_t{2}) + filled(1, 0) + filled(1, 9));
  expect_refused<errc>("errc", encode(std::uint16_t{999}));
  expect_refused<std::variant<int, char>>("variant", encode(std::uint32_t{2}) + encode(1));
}

TEST(Hostile, KeysTwice) {
  expect_refused<std::set<int>>("set", encode(std::vector<int>{1, 1}));
  expect_refused<std::map<int, int>>("map",
                                     encode(std::vector<std::pair<int, int>>{{1, 1}, {1, 2}}));
  expect_refused<std::unordered_map<int, int>>(
      "unordered map", encode(std::vector<std::pair<int, int>>{{1, 1}, {1, 2}}));
}

TEST(Hostile, TrailingBytes) {
  expect_refused<int>("int", filled(5, 0));
  expect_refused<std::string>("string", encode(std::string{"ab"}) + filled(1, 0));
  expect_refused<nothing>("empty", filled(1, 0));
  expect_refused<rich>("rich", rich_message() + filled(1, 0));
}

TEST(Hostile, CodeAddressesWithoutCode) {
  using function = int (*)(int);
  using test_type = std::string;
  for (const std::uint64_t offset :
       {std::uint64_t{1}, std::uint64_t{1} << 40U, (std::uint64_t{1} << 63U) - 1}) {
    expect_refused<function>("offset", encode(offset), errc::unknown_function);
    const auto run = [&] { return detail::decode_task_callable(encode(offset)); };
    EXPECT_TRUE(fails_with(errc::unknown_function, run));
  }
  const auto other = encode((std::uint64_t{1} << 63U) | 0x1000U);
  expect_refused<function>("relative path",
                           other + encode(test_type{"libno.so"}) + encode(std::vector<std::byte>{}),
                           errc::unknown_function);
  expect_refused<function>(
      "no such file",
      other + encode(test_type{"/no/such/libno.so"}) + encode(std::vector<std::byte>{}),
      errc::unknown_function);
  expect_refused<void (test_type::*)()>(
      "virtual beyond the table",
      filled(1, 2) + encode(std::int64_t{0}) + encode(std::int64_t{1} << 40U));
  EXPECT_TRUE(fails_with(errc::unknown_function,
                         [] { return detail::decode_task_callable(encode(std::uint64_t{0})); }));
}

TEST(Hostile, ErrorsSayWhatWhereAndOfWhichType) {
  try {
    static_cast<void>(decode<std::vector<std::string>>(encode(std::uint64_t{1}) +
                                                       encode(std::uint64_t{9}) + filled(3, 'x')));
    FAIL();
  } catch (const error& refused) {
    EXPECT_EQ(refused.ran(), task_ran::no);
    EXPECT_STREQ(
        refused.what(),
        "cannot decode a std::string at offset 16 of 19 bytes: it announces 9 elements of 1 "
        "bytes each, more than there are bytes left");
  }
}

TEST(Hostile, TruncationAtEveryByte) {
  const auto whole = rich_message();
  EXPECT_NO_THROW(static_cast<void>(decode<rich>(whole)));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    // A copy of exactly that size, so that a sanitizer sees the first byte read beyond it.
    const std::vector<std::byte> cut(whole.begin(),
                                     whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return decode<rich>(cut); })) << size;
  }
}

TEST(Hostile, RandomMutations) {
  const auto seed = std::random_device{}();
  RecordProperty("seed", static_cast<int>(seed));
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  const auto whole = rich_message();
  std::size_t refused = 0;
  constexpr int rounds = 20'000;
  for (int i = 0; i < rounds; ++i) {
    std::vector<std::byte> bytes = whole;
    for (unsigned flips = 1 + random() % 4; flips > 0; --flips) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    if (random() % 8 == 0) {
      bytes.resize(random() % (bytes.size() + 1));
    }
    try {
      // The shape may now be another one with more elements than bytes per element in memory (a
      // string of 8 bytes takes 32), hence the factor; what counts is that it is bounded.
      const std::size_t peak = peak_of([&] { static_cast<void>(decode<rich>(bytes)); });
      ASSERT_LT(peak, 16 * bytes.size() + std::size_t{256} * 1024) << "round " << i;
    } catch (const error& caught) {
      ++refused;
      ASSERT_TRUE(caught.code() == errc::protocol_error ||
                  caught.code() == errc::unknown_function ||
                  caught.code() == errc::nesting_too_deep)
          << "round " << i << ": " << caught.what();
    }
  }
  EXPECT_GT(refused, static_cast<std::size_t>(rounds / 4));
}

TEST(Hostile, ALargeHonestMessageTakesLittleMoreMemoryThanItself) {
  const std::vector<double> numbers(1'000'000, 1.5);
  const auto bytes = encode(numbers);
  const std::size_t peak =
      peak_of([&] { EXPECT_EQ(decode<std::vector<double>>(bytes).size(), numbers.size()); });
  EXPECT_LT(peak, bytes.size() + std::size_t{64} * 1024);
}

}  // namespace
}  // namespace troupe

CEREAL_REGISTER_TYPE(troupe::large_derived)
CEREAL_REGISTER_POLYMORPHIC_RELATION(troupe::large_base, troupe::large_derived)
