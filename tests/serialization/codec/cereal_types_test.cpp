// SPDX-License-Identifier: BSD-3-Clause
// With cereal's own overloads for the standard's types visible beside ours: ours must win, without
// an ambiguity, and what only cereal knows must work on our archives.
#include "troupe/codec.hpp"
#include "troupe/error.hpp"

#include "support/fails_with.hpp"

#include <cereal/types/array.hpp>
#include <cereal/types/atomic.hpp>
#include <cereal/types/bitset.hpp>
#include <cereal/types/chrono.hpp>
#include <cereal/types/complex.hpp>
#include <cereal/types/deque.hpp>
#include <cereal/types/forward_list.hpp>
#include <cereal/types/functional.hpp>
#include <cereal/types/list.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/memory.hpp>
#include <cereal/types/optional.hpp>
#include <cereal/types/polymorphic.hpp>
#include <cereal/types/queue.hpp>
#include <cereal/types/set.hpp>
#include <cereal/types/stack.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/tuple.hpp>
#include <cereal/types/unordered_map.hpp>
#include <cereal/types/unordered_set.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/valarray.hpp>
#include <cereal/types/variant.hpp>
#include <cereal/types/vector.hpp>
#include <gtest/gtest.h>

#include <atomic>
#include <queue>
#include <stack>
#include <valarray>

struct shape {
  virtual ~shape() = default;
  [[nodiscard]] virtual int sides() const = 0;
};
struct square_shape : shape {
  int edge = 0;
  [[nodiscard]] int sides() const override { return 4; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(edge);
  }
};
struct triangle_shape : shape {
  [[nodiscard]] int sides() const override { return 3; }
  template <class Archive>
  void serialize(Archive& /*ar*/) {}
};
CEREAL_REGISTER_TYPE(square_shape)
CEREAL_REGISTER_POLYMORPHIC_RELATION(shape, square_shape)
CEREAL_REGISTER_TYPE(triangle_shape)
CEREAL_REGISTER_POLYMORPHIC_RELATION(shape, triangle_shape)

struct constructed {
  explicit constructed(int n) : number(n) {}
  int number;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(number);
  }
  template <class Archive>
  static void load_and_construct(Archive& ar, cereal::construct<constructed>& construct) {
    int number = 0;
    ar(number);
    construct(number);
  }
};

namespace troupe {
namespace {

using test::fails_with;

template <class T>
T round_trip(const T& value) {
  return decode<T>(encode(value));
}

TEST(CerealTypes, OurOverloadsWinOverCereals) {
  using everything =
      std::tuple<std::string, std::vector<int>, std::vector<bool>, std::vector<std::string>,
                 std::array<int, 2>, std::deque<int>, std::list<int>, std::forward_list<int>,
                 std::map<int, int>, std::multimap<int, int>, std::unordered_map<int, int>,
                 std::set<int>, std::unordered_set<int>, std::pair<int, int>, std::optional<int>,
                 std::variant<int, std::string>, std::chrono::milliseconds,
                 std::chrono::system_clock::time_point, std::complex<double>, std::bitset<9>,
                 std::shared_ptr<int>, std::variant<std::monostate, int>>;
  const everything sent{"s",
                        {1, 2},
                        {true, false},
                        {"a"},
                        {1, 2},
                        {3},
                        {4},
                        {5},
                        {{1, 2}},
                        {{1, 2}, {1, 3}},
                        {{1, 2}},
                        {7},
                        {8},
                        {1, 2},
                        3,
                        "v",
                        std::chrono::milliseconds{5},
                        {},
                        {1, 2},
                        5,
                        nullptr,
                        {}};
  EXPECT_EQ(round_trip(sent), sent);
  // Packed eight to a byte, which cereal does not do: the proof that it is our overload.
  EXPECT_EQ(encode(std::vector<bool>(16)).size(), 8U + 2U);
  EXPECT_EQ(*round_trip(std::make_unique<int>(4)), 4);
}

TEST(CerealTypes, WhatOnlyCerealKnowsWorks) {
  const std::valarray<double> numbers{1, 2, 3};
  EXPECT_EQ(round_trip(numbers)[2], 3);
  std::queue<int> queue;
  queue.push(1);
  EXPECT_EQ(round_trip(queue), queue);
  std::priority_queue<int> heap;
  heap.push(3);
  EXPECT_EQ(round_trip(heap).top(), 3);
  std::stack<int> stack;
  stack.push(2);
  EXPECT_EQ(round_trip(stack), stack);
  const auto atomic = std::make_unique<std::atomic<int>>(5);
  EXPECT_EQ(round_trip(atomic)->load(), 5);
}

TEST(CerealTypes, AValarrayIsNotResizedForBytesThatAreNotThere) {
  EXPECT_TRUE(fails_with(errc::protocol_error, [] {
    return decode<std::valarray<double>>(encode(std::uint64_t{1} << 32U));
  }));
}

TEST(CerealTypes, BoolsInBinaryDataAreChecked) {
  auto bytes = encode(std::valarray<bool>{true, false});
  bytes.back() = std::byte{0x7f};
  EXPECT_TRUE(fails_with(errc::protocol_error, [&] { return decode<std::valarray<bool>>(bytes); }));
}

TEST(CerealTypes, TypesWithLoadAndConstructTravelInPointers) {
  EXPECT_EQ(round_trip(std::make_unique<constructed>(5))->number, 5);
  EXPECT_EQ(round_trip(std::make_shared<constructed>(6))->number, 6);
}

TEST(CerealTypes, PolymorphicPointersArriveAsTheRegisteredClass) {
  std::vector<std::unique_ptr<shape>> sent;
  sent.push_back(std::make_unique<square_shape>());
  sent.push_back(std::make_unique<triangle_shape>());
  sent.push_back(nullptr);
  const auto got = round_trip(sent);
  EXPECT_EQ(got.at(0)->sides(), 4);
  EXPECT_EQ(got.at(1)->sides(), 3);
  EXPECT_EQ(got.at(2), nullptr);
  const std::shared_ptr<shape> shared = std::make_shared<triangle_shape>();
  const auto both = round_trip(std::pair{shared, shared});
  EXPECT_EQ(both.first, both.second);
  EXPECT_EQ(both.first->sides(), 3);
}

TEST(CerealTypes, AnUnknownPolymorphicNameIsAnErrorOfOurs) {
  auto bytes = encode(std::unique_ptr<shape>{std::make_unique<square_shape>()});
  for (std::byte& byte : bytes) {
    if (byte == std::byte{'q'}) {
      byte = std::byte{'Q'};
    }
  }
  EXPECT_TRUE(
      fails_with(errc::protocol_error, [&] { return decode<std::unique_ptr<shape>>(bytes); }));
}

TEST(CerealTypes, APolymorphicSharedPointerCannotBeTakenForAnotherType) {
  // Written as two squares, the second one by its id; read as a square and a triangle with that id.
  const auto square = std::make_shared<square_shape>();
  detail::byte_buffer buffer;
  output_archive ar{buffer};
  ar(std::shared_ptr<shape>{square});
  std::vector<std::byte> bytes(buffer.bytes().begin(), buffer.bytes().end());
  const auto triangle = encode(std::shared_ptr<shape>{std::make_shared<triangle_shape>()});
  bytes.insert(bytes.end(), triangle.begin(), triangle.end());
  // The name's id must be new in the second one too (2, with the top bit), its object an old one
  // (1).
  const std::size_t second = buffer.size();
  bytes[second] = std::byte{2};
  bytes[bytes.size() - 4] = std::byte{1};
  bytes[bytes.size() - 1] = std::byte{0};
  using pair = std::pair<std::shared_ptr<shape>, std::shared_ptr<shape>>;
  try {
    static_cast<void>(decode<pair>(bytes));
    FAIL() << "a square was taken for a triangle";
  } catch (const error& refused) {
    EXPECT_EQ(refused.code(), errc::protocol_error);
    EXPECT_NE(std::string{refused.what()}.find("square_shape"), std::string::npos)
        << refused.what();
  }
}

}  // namespace
}  // namespace troupe
