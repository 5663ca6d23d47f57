// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>

namespace troupe::detail {

/// From where on the items of a map do not begin any more. Items are numbered in input order; what
/// comes before a failure goes on, so that the first failure in that order is found, whichever
/// worker is faster.
///
/// @threads any; a cut only ever moves to the front.
class map_cut {
 public:
  /// Nothing behind this item begins any more. True: it did not say so before.
  bool after(std::uint64_t item) noexcept { return from(item + 1); }
  /// Nothing of the map begins any more.
  bool all() noexcept { return from(0); }
  [[nodiscard]] bool cuts(std::uint64_t item) const noexcept { return item >= first_.load(); }
  [[nodiscard]] bool any() const noexcept { return first_.load() != UINT64_MAX; }

 private:
  bool from(std::uint64_t item) noexcept {
    std::uint64_t before = first_.load();
    while (item < before) {
      if (first_.compare_exchange_weak(before, item)) {
        return true;
      }
    }
    return false;
  }

  std::atomic<std::uint64_t> first_{UINT64_MAX};  ///< the first item that does not begin
};

}  // namespace troupe::detail
