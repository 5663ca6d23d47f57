// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"
#include "troupe/objects.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

// How a message names the objects that are in a value.
namespace troupe::detail {

/// From the exporter: what is exported. (To the exporter, the id says it all.)
struct exported_object {
  std::uint64_t id = 0;
  std::uint32_t kind = 0;
  std::uint64_t type_tag = 0;
  std::uint64_t payload_bytes = 0;
  std::string name;

  template <class Archive>
  void serialize(Archive& ar) {
    ar(id, kind, type_tag, payload_bytes, name);
  }
};

/// A value has at most so many handles of objects in it that crosses to another machine.
inline constexpr std::size_t max_exports_at_once = 4096;

}  // namespace troupe::detail
