// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace troupe::detail {

/// What a message begins with: docs/protocol.md, "Connections". Then come the ids of `descriptors`
/// objects, 8 bytes each, and the payload. Descriptors travel with the first byte of the ids' batches
/// of `sys::max_rights`, the first batch's with the header.
struct frame_header {
  std::uint32_t magic = expected_magic;
  std::uint8_t content = 0;
  std::uint8_t zero = 0;
  std::uint16_t descriptors = 0;
  std::uint64_t bytes = 0;

  static constexpr std::uint32_t expected_magic = 0x31705254;  // "TRp1"
};
static_assert(sizeof(frame_header) == 16);

[[nodiscard]] inline std::span<const std::byte> bytes_of(const frame_header& header) {
  return std::as_bytes(std::span{&header, 1});
}

}  // namespace troupe::detail
