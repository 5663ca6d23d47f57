// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/codec.hpp"

#include "troupe/detail/type_name.hpp"
#include "troupe/error.hpp"
#include "troupe/filesystem.hpp"

#include "support/fails_with.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <complex>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace troupe {
namespace {

using test::fails_with;
using namespace std::chrono_literals;
using namespace std::string_literals;

template <class T>
T round_trip(const T& value) {
  return decode<T>(encode(value));
}

template <class T>
void expect_round_trip(const T& value) {
  // Not EXPECT_EQ: GoogleTest's library cannot print strings of char8_t.
  EXPECT_TRUE(round_trip(value) == value) << detail::type_name(typeid(T));
}

enum class color : std::uint8_t { red, green, blue };
constexpr bool is_valid(color c) {
  return c <= color::blue;
}
enum class wide : std::int64_t { lowest = std::numeric_limits<std::int64_t>::min() };
// NOLINTNEXTLINE(performance-enum-size): without a fixed type on purpose
enum plain { first, second };

struct point {
  int x = 0;
  double y = 0;
  bool operator==(const point&) const = default;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(x, y);
  }
};

struct split {
  std::string text;
  template <class Archive>
  void save(Archive& ar) const {
    ar(text.size(), text);
  }
  template <class Archive>
  void load(Archive& ar) {
    std::size_t size = 0;
    ar(size, text);
  }
};

struct minimal {
  int number = 0;
  template <class Archive>
  int save_minimal(const Archive& /*ar*/) const {
    return number;
  }
  template <class Archive>
  void load_minimal(const Archive& /*ar*/, const int& value) {
    number = value;
  }
};

struct free_standing {
  int number = 0;
};
template <class Archive>
void serialize(Archive& ar, free_standing& value) {
  ar(value.number);
}

struct versioned {
  int number = 0;
  template <class Archive>
  void serialize(Archive& ar, std::uint32_t version) {
    ar(number);
    if (version != 0) {
      number = -1;
    }
  }
};

struct inherited : point {
  std::string name;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(cereal::base_class<point>(this), cereal::make_nvp("name", name));
  }
};

struct empty {
  bool operator==(const empty&) const = default;
};

class private_parts {
 public:
  static std::unique_ptr<private_parts> make(int number) {
    std::unique_ptr<private_parts> made{new private_parts};
    made->number_ = number;
    return made;
  }
  [[nodiscard]] int number() const { return number_; }

 private:
  friend class cereal::access;
  private_parts() = default;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(number_);
  }
  int number_ = 0;
};

struct tree {
  int value = 0;
  std::vector<tree> children;
  bool operator==(const tree&) const = default;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(value, children);
  }
};

struct chain {
  std::unique_ptr<chain> next;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(next);
  }
};

struct member_of_ring {
  std::shared_ptr<member_of_ring> other;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(other);
  }
};

chain make_chain(unsigned links) {
  chain head;
  for (unsigned i = 0; i < links; ++i) {
    auto next = std::make_unique<chain>(std::move(head));
    head = chain{};
    head.next = std::move(next);
  }
  return head;
}

TEST(Codec, NumbersComeBackAsTheyWere) {
  expect_round_trip(true);
  expect_round_trip('x');
  expect_round_trip(L'x');
  expect_round_trip(char8_t{0x7f});
  expect_round_trip(char32_t{0x1f600});
  expect_round_trip(std::int8_t{-128});
  expect_round_trip(std::numeric_limits<std::int64_t>::min());
  expect_round_trip(std::numeric_limits<std::uint64_t>::max());
  expect_round_trip(0.1F);
  expect_round_trip(-0.1);
  expect_round_trip(0.1L);
  expect_round_trip(std::byte{0xff});
  EXPECT_TRUE(std::isnan(round_trip(std::nan(""))));
  EXPECT_TRUE(std::signbit(round_trip(-0.0)));
}

TEST(Codec, EnumsComeBackAsTheyWere) {
  expect_round_trip(color::blue);
  expect_round_trip(wide::lowest);
  expect_round_trip(second);
}

TEST(Codec, StringsOfAllCharactersComeBackAsTheyWere) {
  expect_round_trip(""s);
  expect_round_trip("a\0b"s);
  expect_round_trip(std::string(100'000, 'x'));
  expect_round_trip(L"wide"s);
  expect_round_trip(u8"utf8"s);
  expect_round_trip(u"utf16"s);
  expect_round_trip(U"utf32"s);
}

TEST(Codec, SequencesComeBackAsTheyWere) {
  expect_round_trip(std::vector<int>{});
  expect_round_trip(std::vector<double>{1.5, -2.5});
  expect_round_trip(std::vector<long double>{1.5L, -2.5L});
  expect_round_trip(std::vector<std::byte>{std::byte{1}});
  expect_round_trip(std::vector<std::string>{"a", "", "c"});
  expect_round_trip(std::vector<color>{color::red, color::blue});
  expect_round_trip(std::vector<std::vector<point>>{{{1, 2}}, {}, {{3, 4}, {5, 6}}});
  expect_round_trip(std::vector<std::complex<double>>{{1, 2}, {3, 4}});
  expect_round_trip(std::vector<empty>(1000));
  expect_round_trip(std::vector<std::monostate>(60'000));
  expect_round_trip(std::array<int, 3>{1, 2, 3});
  expect_round_trip(std::array<bool, 3>{true, false, true});
  expect_round_trip(std::array<std::string, 2>{"a", "b"});
  expect_round_trip(std::array<int, 0>{});
  expect_round_trip(std::deque<int>{1, 2, 3});
  expect_round_trip(std::list<std::string>{"a", "b"});
  expect_round_trip(std::forward_list<int>{1, 2, 3});
}

TEST(Codec, BitsComeBackAsTheyWere) {
  for (std::size_t size : {0U, 1U, 7U, 8U, 9U, 1000U}) {
    std::vector<bool> bits(size);
    for (std::size_t i = 0; i < size; i += 3) {
      bits[i] = true;
    }
    expect_round_trip(bits);
  }
  expect_round_trip(std::bitset<1>{1});
  expect_round_trip(std::bitset<8>{0xa5});
  expect_round_trip(std::bitset<77>{0x123456789abcdef});
  expect_round_trip(std::bitset<0>{});
}

TEST(Codec, AVectorThatBeginsAtAnOddByteComesBackAsItWas) {
  expect_round_trip(std::tuple<char, std::vector<double>, char, std::vector<std::uint16_t>>{
      'a', {1, 2, 3}, 'b', {4, 5}});
}

TEST(Codec, SetsAndMapsComeBackAsTheyWere) {
  expect_round_trip(std::set<std::string>{"b", "a"});
  expect_round_trip(std::multiset<int>{1, 1, 2});
  expect_round_trip(std::unordered_set<int>{1, 2, 3});
  expect_round_trip(std::unordered_multiset<int>{1, 1, 3});
  expect_round_trip(std::map<std::string, std::vector<int>>{{"a", {1}}, {"b", {}}});
  expect_round_trip(std::multimap<int, int>{{1, 1}, {1, 2}});
  expect_round_trip(std::unordered_map<int, std::string>{{1, "a"}, {2, "b"}});
  expect_round_trip(std::unordered_multimap<int, int>{{1, 1}, {1, 2}});
  expect_round_trip(std::map<int, int, std::greater<>>{{1, 1}, {2, 2}});
}

TEST(Codec, ProductsAndSumsComeBackAsTheyWere) {
  expect_round_trip(std::pair<int, std::string>{1, "a"});
  expect_round_trip(std::pair<const std::string, int>{"an element of a map", 1});
  expect_round_trip(std::vector<std::pair<const std::string, int>>{{"a", 1}, {"b", 2}});
  expect_round_trip(std::tuple<>{});
  expect_round_trip(std::tuple<int, std::string, point>{1, "a", {2, 3}});
  expect_round_trip(std::optional<int>{});
  expect_round_trip(std::optional<std::string>{"a"});
  expect_round_trip(std::optional<std::optional<int>>{std::optional<int>{}});
  expect_round_trip(std::variant<int, std::string, color>{color::green});
  expect_round_trip(std::variant<std::monostate, int>{});
  expect_round_trip(std::vector<std::variant<int, std::string>>{1, "a", 2});
}

TEST(Codec, TimesAndNumbersOfTheStandardComeBackAsTheyWere) {
  expect_round_trip(1500ms);
  expect_round_trip(std::chrono::duration<double>{1.5});
  expect_round_trip(std::chrono::system_clock::now());
  expect_round_trip(std::complex<float>{1, -2});
  expect_round_trip(std::complex<long double>{1, -2});
  expect_round_trip(std::filesystem::path{"/a/b c"});
}

TEST(Codec, ArraysInsideATypeComeBackAsTheyWere) {
  struct arrays {
    int numbers[3] = {};
    bool flags[2] = {};
    std::string texts[2];
    int grid[2][2] = {};
    void serialize(output_archive& ar) { ar(numbers, flags, texts, grid); }
    void serialize(input_archive& ar) { ar(numbers, flags, texts, grid); }
  };
  const arrays sent{{1, 2, 3}, {true, false}, {"a", "b"}, {{1, 2}, {3, 4}}};
  const auto got = round_trip(sent);
  EXPECT_EQ(got.numbers[2], 3);
  EXPECT_TRUE(got.flags[0]);
  EXPECT_EQ(got.texts[1], "b");
  EXPECT_EQ(got.grid[1][0], 3);
}

TEST(Codec, EveryCerealFormOfATypeWorks) {
  EXPECT_EQ(round_trip(point{1, 2}), (point{1, 2}));
  EXPECT_EQ(round_trip(split{"text"}).text, "text");
  EXPECT_EQ(round_trip(minimal{7}).number, 7);
  EXPECT_EQ(round_trip(free_standing{8}).number, 8);
  EXPECT_EQ(round_trip(versioned{9}).number, 9);
  EXPECT_EQ(round_trip(empty{}), empty{});
  inherited sent;
  sent.x = 5;
  sent.name = "n";
  const inherited got = round_trip(sent);
  EXPECT_EQ(got.x, 5);
  EXPECT_EQ(got.name, "n");
}

TEST(Codec, MoveOnlyValuesComeBackAsTheyWere) {
  EXPECT_EQ(*round_trip(std::make_unique<int>(5)), 5);
  EXPECT_EQ(round_trip(std::unique_ptr<int>{}), nullptr);
  EXPECT_EQ(*round_trip(std::make_unique<const int>(5)), 5);
  EXPECT_EQ(round_trip(private_parts::make(6))->number(), 6);
  std::vector<std::unique_ptr<std::string>> many;
  many.push_back(std::make_unique<std::string>("a"));
  many.push_back(nullptr);
  const auto got = round_trip(many);
  ASSERT_EQ(got.size(), 2U);
  EXPECT_EQ(*got[0], "a");
  EXPECT_EQ(got[1], nullptr);
  std::map<int, std::unique_ptr<int>> mapped;
  mapped.emplace(1, std::make_unique<int>(2));
  EXPECT_EQ(*round_trip(mapped).at(1), 2);
  std::optional<std::unique_ptr<int>> maybe{std::make_unique<int>(3)};
  const auto got_maybe = round_trip(maybe);
  EXPECT_EQ(got_maybe.has_value() ? **got_maybe : 0, 3);
}

TEST(Codec, TwoPointersToOneObjectPointToOneObjectAgain) {
  const auto shared = std::make_shared<std::string>("once");
  const auto got = round_trip(std::tuple<std::shared_ptr<std::string>, std::shared_ptr<std::string>,
                                         std::weak_ptr<std::string>, std::shared_ptr<std::string>>{
      shared, shared, shared, nullptr});
  EXPECT_EQ(*std::get<0>(got), "once");
  EXPECT_EQ(std::get<0>(got), std::get<1>(got));
  EXPECT_EQ(std::get<0>(got), std::get<2>(got).lock());
  EXPECT_EQ(std::get<3>(got), nullptr);
}

TEST(Codec, AnObjectAndItsFirstMemberAreTwoObjects) {
  const auto whole = std::make_shared<point>(point{3, 4});
  const std::shared_ptr<int> part{whole, &whole->x};
  const auto got = round_trip(std::pair{whole, part});
  EXPECT_EQ(*got.first, (point{3, 4}));
  EXPECT_EQ(*got.second, 3);
}

TEST(Codec, ARingOfSharedPointersComesBackAsARing) {
  auto one = std::make_shared<member_of_ring>();
  one->other = std::make_shared<member_of_ring>();
  one->other->other = one;
  auto got = round_trip(one);
  EXPECT_EQ(got->other->other, got);
  got->other->other = nullptr;
  one->other->other = nullptr;
}

TEST(Codec, RecursiveTypesComeBackAsTheyWere) {
  expect_round_trip(tree{1, {{2, {{3, {}}}}, {4, {}}}});
}

TEST(Codec, EncodeAppendsAndLeavesWhatWasThere) {
  detail::byte_buffer buffer;
  encode(buffer, std::uint8_t{1});
  encode(buffer, "ab"s);
  ASSERT_EQ(buffer.size(), 11U);
  EXPECT_EQ(decode<std::string>(buffer.bytes().subspan(1)), "ab");
}

TEST(Codec, EncodingNestedDeeperThanTheLimitFailsInsteadOfOverflowingTheStack) {
  EXPECT_NO_THROW(static_cast<void>(round_trip(make_chain(200))));
  const chain deep = make_chain(5000);
  EXPECT_TRUE(fails_with(errc::nesting_too_deep, [&] { return encode(deep); }));
}

TEST(Codec, AValuelessVariantIsRefused) {
  struct throws_when_copied {
    throws_when_copied() = default;
    throws_when_copied(const throws_when_copied& /*other*/) { throw 1; }
    throws_when_copied& operator=(const throws_when_copied&) = default;
    ~throws_when_copied() = default;
    void serialize(output_archive& /*ar*/) {}
    void serialize(input_archive& /*ar*/) {}
    int unused = 0;
  };
  std::variant<int, throws_when_copied> value;
  const throws_when_copied from;
  EXPECT_THROW((value.emplace<1>(from)), int);
  ASSERT_TRUE(value.valueless_by_exception());
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return encode(value); }));
}

TEST(Codec, PaddingOfLongDoublesIsZero) {
  // CVE-2020-11104: whatever was on the stack or heap before would go to the peer.
  const auto dirty = [](unsigned char pattern) {
    struct sent_type {
      std::vector<long double> heap;
      long double member = 0;
      long double raw[2] = {};
      std::complex<long double> both;
      void serialize(output_archive& ar) {
        ar(heap, member, raw, both, cereal::binary_data(raw, sizeof raw));
      }
    };
    sent_type sent;
    sent.heap.resize(3);
    std::memset(static_cast<void*>(sent.heap.data()), pattern, 3 * sizeof(long double));
    std::memset(&sent.member, pattern, sizeof sent.member);
    std::memset(&sent.raw, pattern, sizeof sent.raw);
    for (long double* value :
         {&sent.heap[0], &sent.heap[1], &sent.heap[2], &sent.member, &sent.raw[0], &sent.raw[1]}) {
      const long double wanted = 1.25L;
      std::memcpy(value, &wanted, detail::long_double_value_bytes);
    }
    return encode(sent);
  };
  EXPECT_EQ(dirty(0x00), dirty(0xab));
}

TEST(Codec, ConceptsLookAllTheWayDown) {
  struct cannot {
    int x = 0;
  };
  struct no_default {
    explicit no_default(int number) : x(number) {}
    int x;
    void serialize(output_archive& ar) { ar(x); }
    void serialize(input_archive& ar) { ar(x); }
  };
  static_assert(serializable<int> && serializable<std::string> && serializable<point>);
  static_assert(serializable<std::map<std::string, std::vector<point>>>);
  static_assert(serializable<int (*)(int)> && serializable<int (point::*)(int) const>);
  static_assert(serializable<empty>);
  static_assert(!encodable<cannot> && !decodable<cannot>);
  static_assert(!encodable<std::vector<cannot>>);
  static_assert(!encodable<std::map<int, std::optional<std::pair<int, cannot>>>>);
  static_assert(!encodable<std::unique_ptr<cannot>>);
  static_assert(!encodable<int*> && !encodable<std::vector<const char*>> && !encodable<void*>);
  static_assert(!encodable<std::reference_wrapper<int>> && !encodable<std::function<int()>>);
  static_assert(encodable<no_default> && !decodable<no_default>);
  static_assert(encodable<std::vector<no_default>> && !decodable<std::vector<no_default>>);
}

TEST(ByteBuffer, KeepsItsBytesWhenItGrowsAndMoves) {
  detail::byte_buffer buffer;
  std::vector<std::byte> expected;
  for (int i = 0; i < 5000; ++i) {
    const auto byte = static_cast<std::byte>(i);
    buffer.append(&byte, 1);
    expected.push_back(byte);
  }
  detail::byte_buffer moved = std::move(buffer);
  EXPECT_EQ(std::vector<std::byte>(moved.bytes().begin(), moved.bytes().end()), expected);
  moved.truncate(10);
  EXPECT_EQ(moved.size(), 10U);
  moved.truncate(20);
  EXPECT_EQ(moved.size(), 10U);
  moved.clear();
  EXPECT_EQ(moved.size(), 0U);
  EXPECT_GE(moved.capacity(), 5000U);
  EXPECT_TRUE(fails_with(errc::payload_too_large, [&] {
    static_cast<void>(moved.extend(1));
    return moved.extend(std::numeric_limits<std::size_t>::max());
  }));
}

}  // namespace
}  // namespace troupe
