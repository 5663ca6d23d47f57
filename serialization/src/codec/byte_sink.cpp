// SPDX-License-Identifier: BSD-3-Clause
#include "troupe/detail/byte_sink.hpp"

#include "troupe/error.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

namespace troupe::detail {

byte_sink::~byte_sink() = default;

void byte_sink::make_room(std::size_t count) {
  if (count > std::numeric_limits<std::size_t>::max() - size_) {
    throw error{errc::payload_too_large, task_ran::no,
                "a value of more bytes than memory has addresses cannot be encoded"};
  }
  grow(size_ + count);
}

byte_buffer::byte_buffer(byte_buffer&& other) noexcept {
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  capacity_ = std::exchange(other.capacity_, 0);
}

byte_buffer& byte_buffer::operator=(byte_buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

byte_buffer::~byte_buffer() {
  std::free(data_);
}

void byte_buffer::grow(std::size_t min_capacity) {
  constexpr std::size_t first = 256;
  const std::size_t doubled =
      capacity_ > std::numeric_limits<std::size_t>::max() / 2 ? min_capacity : capacity_ * 2;
  const std::size_t wanted = std::max({first, doubled, min_capacity});
  // realloc moves large buffers by remapping their pages instead of copying them, which neither
  // std::vector nor operator new can do.
  void* const moved = std::realloc(data_, wanted);
  if (moved == nullptr) {
    throw error{errc::resource_exhausted, task_ran::no,
                "no memory for an encoded value of " + std::to_string(min_capacity) + " bytes"};
  }
  data_ = static_cast<std::byte*>(moved);
  capacity_ = wanted;
}

}  // namespace troupe::detail
