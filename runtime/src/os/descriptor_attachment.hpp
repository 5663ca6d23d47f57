// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/detail/descriptor.hpp"

#include <cstdint>
#include <utility>

namespace troupe::detail {

/// Attachments that is nothing but a descriptor: what a transport offers to a decoder, and what a
/// handle without any state in this process hands out.
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

/// Of what came: parts of objects that are here are nothing but descriptors, or objects themselves,
/// which are kept anyway.
inline void keep_in_children(const attachment& part) noexcept {
  if (const auto* const alone = dynamic_cast<const descriptor_attachment*>(&part)) {
    alone->keep_in_children();
  }
}

}  // namespace troupe::detail
