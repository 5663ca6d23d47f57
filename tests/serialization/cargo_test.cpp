// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/cargo.hpp"

#include "troupe/codec.hpp"
#include "troupe/error.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace {

using namespace troupe;
using namespace troupe::detail;

class box final : public cargo {
 public:
  explicit box(int number) : cargo{new_cargo_id()}, number_{number} {}
  [[nodiscard]] int number() const noexcept override { return number_; }

 private:
  int number_;
};

struct handle {
  std::shared_ptr<const cargo> what;
  template <class Archive>
  void save(Archive& ar) const {
    save_cargo(ar, what);
  }
  template <class Archive>
  void load(Archive& ar) {
    what = load_cargo(ar);
  }
};

TEST(Cargo, FollowsTheBytesThroughContainers) {
  const handle one{std::make_shared<box>(1)};
  const handle two{std::make_shared<box>(2)};
  cargo_list carried;
  std::vector<std::byte> bytes;
  {
    const cargo_loading scope{carried};
    bytes = encode(std::vector<handle>{one, two, one});
  }
  ASSERT_EQ(carried.size(), 2U) << "the same object travels once";
  const cargo_unloading scope{carried};
  const auto back = decode<std::vector<handle>>(bytes);
  ASSERT_EQ(back.size(), 3U);
  EXPECT_EQ(back[0].what, one.what);
  EXPECT_EQ(back[1].what, two.what);
  EXPECT_EQ(back[2].what, one.what);
}

TEST(Cargo, PlainBytesCannotCarryIt) {
  try {
    static_cast<void>(encode(handle{std::make_shared<box>(1)}));
    FAIL() << "encoded without anybody to carry it";
  } catch (const error& e) {
    EXPECT_EQ(e.code(), errc::argument_encode_failed);
  }
}

TEST(Cargo, BytesThatNeverWereAHandleAreRefused) {
  const std::vector<std::byte> bytes(sizeof(std::uint64_t), std::byte{7});
  try {
    static_cast<void>(decode<handle>(bytes));
    FAIL() << "decoded from nothing";
  } catch (const error& e) {
    EXPECT_EQ(e.code(), errc::protocol_error);
    EXPECT_NE(std::string{e.what()}.find("never were a handle"), std::string::npos) << e.what();
  }
}

TEST(Cargo, ScopesNest) {
  cargo_list outer;
  cargo_list inner;
  const cargo_loading first{outer};
  {
    const cargo_loading second{inner};
    static_cast<void>(encode(handle{std::make_shared<box>(1)}));
  }
  static_cast<void>(encode(handle{std::make_shared<box>(2)}));
  EXPECT_EQ(inner.size(), 1U);
  EXPECT_EQ(outer.size(), 1U);
}

}  // namespace
