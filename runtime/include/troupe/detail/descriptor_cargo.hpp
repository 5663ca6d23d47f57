// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/cargo.hpp"
#include "troupe/detail/descriptor.hpp"

#include <cstdint>
#include <utility>

namespace troupe::detail {

/// A kernel object as it arrived from another process: an id and a descriptor of its own.
class descriptor_cargo final : public cargo {
 public:
  descriptor_cargo(std::uint64_t id, descriptor what) noexcept
      : cargo{id}, what_{std::move(what)} {}
  [[nodiscard]] int number() const noexcept override { return what_.number(); }

 private:
  descriptor what_;
};

}  // namespace troupe::detail
