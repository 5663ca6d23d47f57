// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "problem.hpp"
#include "tally.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace census {

/// The sums over a tree. Tallies may be added in any order: the sums are the same.
class totals {
 public:
  std::uint64_t files = 0;  ///< that could be read to their end
  std::uint64_t binary_files = 0;
  std::uint64_t directories = 0;
  std::uint64_t bytes = 0;
  std::uint64_t lines = 0;
  std::uint64_t words = 0;
  std::uint64_t hash = 0;  ///< sum of the files' hashes, each mixed before
  problem_log problems;

  void add(const file_tally& tally);

  [[nodiscard]] std::size_t different_identifiers() const { return identifiers_.size(); }
  /// The `count` most frequent, ties in alphabetical order.
  [[nodiscard]] std::vector<std::pair<std::string, std::uint64_t>> top_identifiers(
      std::size_t count) const;

  /// What differs, in words; empty if nothing does.
  [[nodiscard]] std::vector<std::string> differences(const totals& other) const;

 private:
  struct text_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  std::unordered_map<std::string, std::uint64_t, text_hash, std::equal_to<>> identifiers_;
};

}  // namespace census
