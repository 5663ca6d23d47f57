// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/requirements.hpp"

#include <atomic>
#include <cstddef>
#include <cstring>
#include <span>

namespace troupe::detail {

/// Is called with fresh memory that one large copy is about to fill. The runtime layer installs a
/// function that makes the kernel provide the pages at once, because a page fault for every 4 KiB
/// costs more than the copy. Null: nothing is prepared.
inline std::atomic<void (*)(void* begin, std::size_t bytes)> large_fill_hook{nullptr};

inline void about_to_fill(void* begin, std::size_t bytes) {
  constexpr std::size_t large = std::size_t{4} << 20;
  if (bytes >= large) [[unlikely]] {
    if (auto* const prepare = large_fill_hook.load(std::memory_order_acquire)) {
      prepare(begin, bytes);
    }
  }
}

/// One contiguous growing run of bytes; the subclass decides where the memory lives.
///
/// Bytes are never zero-initialised: the caller of `extend` writes all of what it got.
class byte_sink {
 public:
  byte_sink(const byte_sink&) = delete;
  byte_sink& operator=(const byte_sink&) = delete;

  [[nodiscard]] std::byte* data() noexcept { return data_; }
  [[nodiscard]] const std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  /// Adds a copy of `count` bytes.
  ///
  /// @throws as `grow`.
  void append(const void* from, std::size_t count) {
    if (count != 0) {
      std::memcpy(extend(count), from, count);
    }
  }

  /// Makes room for `count` more bytes and returns where they begin.
  ///
  /// @throws as `grow`.
  [[nodiscard]] std::byte* extend(std::size_t count) {
    if (count > capacity_ - size_) [[unlikely]] {
      make_room(count);
    }
    std::byte* const begin = data_ + size_;
    size_ += count;
    return begin;
  }

  /// Drops everything from `size` on; does nothing if there is less.
  void truncate(std::size_t size) noexcept {
    if (size < size_) {
      size_ = size;
    }
  }

 protected:
  byte_sink() = default;
  virtual ~byte_sink();

  /// Sets `data_` and `capacity_` and keeps the first `size_` bytes.
  ///
  /// @throws error{payload_too_large} or error{resource_exhausted}; the sink is then unchanged.
  virtual void grow(std::size_t min_capacity) = 0;

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;

 private:
  void make_room(std::size_t count);
};

/// A heap buffer that doubles. Its memory is aligned for any fundamental type.
class byte_buffer final : public byte_sink {
 public:
  byte_buffer() = default;
  byte_buffer(const byte_buffer&) = delete;
  byte_buffer& operator=(const byte_buffer&) = delete;
  byte_buffer(byte_buffer&& other) noexcept;
  byte_buffer& operator=(byte_buffer&& other) noexcept;
  ~byte_buffer() override;

  /// Forgets the bytes and keeps the memory.
  void clear() noexcept { size_ = 0; }

 private:
  void grow(std::size_t min_capacity) override;
};

}  // namespace troupe::detail
