// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/codec.hpp"

#include "ipc/connection_core.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

// The sinks of connection_core::receive, which take the payload of a message.
namespace troupe::detail {

// Memory that has to be filled with zeros first is filled in steps that stay in the cache.
inline constexpr std::size_t vector_step = std::size_t{1} << 18;

struct into_buffer {
  byte_buffer& to;
  [[nodiscard]] std::size_t step(std::size_t left) const { return left; }
  std::span<std::byte> extend(std::size_t bytes) { return {to.extend(bytes), bytes}; }
};

struct into_vector {
  std::vector<std::byte>& to;
  [[nodiscard]] std::size_t step(std::size_t left) const { return std::min(left, vector_step); }
  std::span<std::byte> extend(std::size_t bytes) {
    const std::size_t before = to.size();
    if (to.capacity() < before + bytes) {
      to.reserve(std::max(before + bytes, 4 * before));
    }
    to.resize(before + bytes);
    return {to.data() + before, bytes};
  }
};

struct into_span {
  std::span<std::byte> room;
  std::vector<std::byte> excess;  ///< the whole message, if it does not fit
  std::size_t bytes = 0;
  bool fits = true;
  [[nodiscard]] std::size_t step(std::size_t left) {
    if (bytes == 0 && left > room.size()) {
      fits = false;
    }
    return fits ? left : std::min(left, vector_step);
  }
  std::span<std::byte> extend(std::size_t count) {
    bytes += count;
    return fits ? room.subspan(bytes - count, count) : into_vector{excess}.extend(count);
  }
};

extern template void connection_core::receive(frame_content wanted, into_buffer& to,
                                              attachment_list& with);
extern template void connection_core::receive(frame_content wanted, into_vector& to,
                                              attachment_list& with);
extern template void connection_core::receive(frame_content wanted, into_span& to,
                                              attachment_list& with);

}  // namespace troupe::detail
