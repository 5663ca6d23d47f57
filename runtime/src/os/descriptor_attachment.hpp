// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/detail/descriptor.hpp"

#include <cstdint>
#include <utility>

namespace troupe::detail {

/// An attachment that is only a descriptor. A transport offers it to a decoder, and a handle
/// without other state in this process encodes it.
class descriptor_attachment final : public attachment {
 public:
  descriptor_attachment(std::uint64_t id, descriptor owned) noexcept
      : attachment{id}, owned_{std::move(owned)} {}
  ~descriptor_attachment() override = default;

  [[nodiscard]] int number() const noexcept override { return owned_.number(); }
  /// As `descriptor::keep_in_children`, for what belongs to an object that is here.
  void keep_in_children() const noexcept { owned_.keep_in_children(); }

 private:
  mutable descriptor owned_;  // whether it is kept is no part of what it is
};

/// Keeps the descriptor of an attachment in children, if the attachment is only a descriptor.
/// Others are objects of this process, which keep their own descriptors.
inline void keep_in_children(const attachment& part) noexcept {
  if (const auto* const alone = dynamic_cast<const descriptor_attachment*>(&part)) {
    alone->keep_in_children();
  }
}

}  // namespace troupe::detail
