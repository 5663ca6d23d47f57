// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/descriptor.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace troupe::detail {

/// A range of mapped pages, unmapped at the end.
///
/// A forked child does not have the pages, unless `share_with_children` was called, so that it
/// cannot write into the channels of other processes. The child does have a copy of this object.
/// That copy unmaps nothing, because the child may have other memory at these addresses.
class mapping {
 public:
  mapping() noexcept = default;
  mapping(std::byte* data, std::size_t bytes) noexcept;
  mapping(mapping&& other) noexcept
      : data_{std::exchange(other.data_, nullptr)},
        bytes_{std::exchange(other.bytes_, 0)},
        forks_{other.forks_} {}
  mapping& operator=(mapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(forks_, other.forks_);
    return *this;
  }
  mapping(const mapping&) = delete;
  mapping& operator=(const mapping&) = delete;
  ~mapping();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_; }
  [[nodiscard]] explicit operator bool() const noexcept { return data_ != nullptr; }
  /// Not in a child that was forked since.
  [[nodiscard]] bool is_here() const noexcept;
  void share_with_children() noexcept;
  /// As it was before share_with_children, for children that are forked from now on.
  void keep_from_children() noexcept;

 private:
  static constexpr std::uint32_t any_process = 0;

  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::uint32_t forks_ = any_process;  ///< the fork_generation() that has the pages
};

/// Anonymous memory of a fixed size. Every page is allocated before this returns, so that a full
/// memory file system is an error here and not a SIGBUS later. The size is sealed: a process that
/// gets the descriptor cannot shrink or grow the memory while other processes have it mapped.
///
/// @throws error{resource_exhausted}.
descriptor create_memory(const char* debug_name, std::size_t bytes);

/// The same for large payloads, mapped for writing; pages are as large as the kernel allows.
std::pair<descriptor, mapping> create_payload_memory(std::size_t bytes);

/// A second descriptor of the same memory which cannot be mapped for writing.
descriptor read_only_view(const descriptor& memory);
descriptor read_only_view(int number);

/// Maps `bytes` of another process's memory for reading, after checking that it is sealed against
/// shrinking and long enough.
///
/// @throws error{protocol_error}: the other process broke the protocol.
mapping map_foreign(const descriptor& memory, std::size_t bytes);

/// Maps `bytes` for reading; `memory` may be a `read_only_view`.
mapping map_readable(const descriptor& memory, std::size_t bytes);

/// Maps [offset, offset + bytes) for reading and writing.
mapping map_memory(const descriptor& memory, std::size_t offset, std::size_t bytes);

/// Maps the range twice, one behind the other: for a ring buffer in which no frame wraps around.
/// `bytes` is a multiple of the page size.
mapping map_ring(const descriptor& memory, std::size_t offset, std::size_t bytes);

/// Makes the kernel provide the pages of [begin, begin + bytes) at once, huge ones where it can.
/// Advice only: contents stay, failures do not matter. For `large_fill_hook`.
void prepare_pages(void* begin, std::size_t bytes);

}  // namespace troupe::detail
