// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/attachment.hpp"

#include "troupe/codec.hpp"
#include "troupe/error.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace {

using namespace troupe;
using namespace troupe::detail;

class box final : public attachment {
 public:
  explicit box(int number) : attachment{new_attachment_id()}, number_{number} {}
  [[nodiscard]] int number() const noexcept override { return number_; }

 private:
  int number_;
};

struct handle {
  std::shared_ptr<const attachment> what;
  template <class Archive>
  void save(Archive& ar) const {
    save_attachment(ar, what);
  }
  template <class Archive>
  void load(Archive& ar) {
    what = load_attachment(ar);
  }
};

TEST(Attachments, FollowsTheBytesThroughContainers) {
  const handle one{std::make_shared<box>(1)};
  const handle two{std::make_shared<box>(2)};
  attachment_list carried;
  std::vector<std::byte> bytes;
  {
    const attachment_collector scope{carried};
    bytes = encode(std::vector<handle>{one, two, one});
  }
  ASSERT_EQ(carried.size(), 2U) << "the same object travels once";
  const attachment_source scope{carried};
  const auto back = decode<std::vector<handle>>(bytes);
  ASSERT_EQ(back.size(), 3U);
  EXPECT_EQ(back[0].what, one.what);
  EXPECT_EQ(back[1].what, two.what);
  EXPECT_EQ(back[2].what, one.what);
}

TEST(Attachments, PlainBytesCannotCarryIt) {
  try {
    static_cast<void>(encode(handle{std::make_shared<box>(1)}));
    FAIL() << "encoded without a collector";
  } catch (const error& e) {
    EXPECT_EQ(e.code(), errc::argument_encode_failed);
  }
}

TEST(Attachments, BytesThatNeverWereAHandleAreRefused) {
  const std::vector<std::byte> bytes(sizeof(std::uint64_t), std::byte{7});
  try {
    static_cast<void>(decode<handle>(bytes));
    FAIL() << "decoded from nothing";
  } catch (const error& e) {
    EXPECT_EQ(e.code(), errc::protocol_error);
    EXPECT_NE(std::string{e.what()}.find("never were a handle"), std::string::npos) << e.what();
  }
}

TEST(Attachments, ScopesNest) {
  attachment_list outer;
  attachment_list inner;
  const attachment_collector first{outer};
  {
    const attachment_collector second{inner};
    static_cast<void>(encode(handle{std::make_shared<box>(1)}));
  }
  static_cast<void>(encode(handle{std::make_shared<box>(2)}));
  EXPECT_EQ(inner.size(), 1U);
  EXPECT_EQ(outer.size(), 1U);
}

}  // namespace
