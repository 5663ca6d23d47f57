// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/attachment.hpp"
#include "troupe/detail/memory.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace troupe::detail {

/// Memory that several processes map and that can grow, never shrink; used under the queue's lock.
class queue_storage {
 public:
  /// New and empty. Throws error{resource_exhausted}.
  queue_storage();
  /// What arrived. Throws error{protocol_error} if it is no such memory.
  explicit queue_storage(std::shared_ptr<const attachment> from);

  [[nodiscard]] const std::shared_ptr<const attachment>& as_attachments() const noexcept {
    return memory_;
  }
  /// Makes [offset, offset + bytes) exist in full, so that no access fails later.
  ///
  /// @throws error{resource_exhausted}.
  void provide(std::uint64_t offset, std::uint64_t bytes);
  /// Gives the pages back; the range may be provided again.
  void release(std::uint64_t offset, std::uint64_t bytes) noexcept;
  /// The range in this process's memory, until the next call.
  ///
  /// @throws error{protocol_error} if it does not exist; error{resource_exhausted}.
  [[nodiscard]] std::byte* at(std::uint64_t offset, std::uint64_t bytes) {
    if (offset > view_.size() || bytes > view_.size() - offset) [[unlikely]] {
      map_more(offset, bytes);
    }
    return view_.data() + offset;
  }

 private:
  void map_more(std::uint64_t offset, std::uint64_t bytes);

  std::shared_ptr<const attachment> memory_;
  mapping view_;
};

}  // namespace troupe::detail
