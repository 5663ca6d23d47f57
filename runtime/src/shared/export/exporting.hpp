// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/thread_safety.hpp"
#include "shared/export/export_operations.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace troupe::detail {

/// The objects that one session has exported.
///
/// @threads any.
class exporting {
 public:
  /// `identity` owns the session's lines in the ledgers.
  explicit exporting(std::uint64_t identity) noexcept : identity_{identity} {}

  /// Exports all objects of a value, or none, and writes what the remote process has to know.
  ///
  /// @throws error{argument_encode_failed} for what cannot be exported; error{connection_lost}
  ///   after the end; error{resource_exhausted}.
  void save(output_archive& ar, const attachment_list& attachments);
  /// What the remote process wrote.
  ///
  /// @throws error{protocol_error}.
  [[nodiscard]] attachment_list load(input_archive& ar);

  /// Null if it is not exported.
  [[nodiscard]] std::shared_ptr<exported_here> find(std::uint64_t id) const;
  /// The remote process has so many handles less.
  void give_back(std::uint64_t id, std::uint64_t times);
  /// Nothing is exported any more, and what the session still held is given back. No operation
  /// runs.
  void end() noexcept;

 private:
  [[nodiscard]] std::vector<exported_here> resolve(const attachment_list& attachments) const;
  void drop_unused() noexcept TROUPE_REQUIRES(mutex_);

  std::uint64_t identity_;
  mutable guarded_mutex mutex_;
  bool over_ TROUPE_GUARDED_BY(mutex_) = false;
  std::unordered_map<std::uint64_t, std::shared_ptr<exported_here>> exported_
      TROUPE_GUARDED_BY(mutex_);
  /// Given back, but the session still holds something of it, or an operation runs.
  std::vector<std::shared_ptr<exported_here>> leaving_ TROUPE_GUARDED_BY(mutex_);
};

}  // namespace troupe::detail
