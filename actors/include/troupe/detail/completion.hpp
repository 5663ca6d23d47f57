// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/futex.hpp"
#include "troupe/detail/future_state.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

namespace troupe::detail {

/// Tells which of some futures end, one by one in the order they do.
///
/// @threads one at a time.
class completions {
 public:
  /// Each state is told once, however often it stands in the list.
  ///
  /// @throws error{no_state} for a null one.
  explicit completions(std::vector<std::shared_ptr<future_state>> of);
  /// States that have not ended by then tell this no more.
  ~completions();
  completions(completions&&) noexcept;
  completions& operator=(completions&&) = delete;

  /// Where in the list the next one that ended stands first. Nothing: all were told, or the
  /// deadline passed.
  std::optional<std::size_t> next(const deadline& until);
  /// Where in the list each different one stands first.
  [[nodiscard]] const std::vector<std::size_t>& distinct() const noexcept;
  /// How many were not told yet.
  [[nodiscard]] std::size_t left() const noexcept;
  /// How many different ones there are.
  [[nodiscard]] std::size_t count() const noexcept;

 private:
  class hub;
  std::shared_ptr<hub> hub_;
};

}  // namespace troupe::detail
