// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/cargo.hpp"
#include "troupe/detail/descriptor.hpp"

#include <cstdint>
#include <utility>

namespace troupe::detail {

/// Cargo that is nothing but a descriptor: what a transport offers to a decoder, and what a handle
/// without any state in this process hands out.
class descriptor_cargo final : public cargo {
 public:
  descriptor_cargo(std::uint64_t id, descriptor owned) noexcept
      : cargo{id}, owned_{std::move(owned)} {}
  ~descriptor_cargo() override = default;

  [[nodiscard]] int number() const noexcept override { return owned_.number(); }

 private:
  descriptor owned_;
};

}  // namespace troupe::detail
