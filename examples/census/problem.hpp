// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

namespace census {

/// What can be wrong with one name in a tree; none of it stops the census.
enum class problem_kind : std::uint8_t {
  none,
  unreadable_file,
  unreadable_directory,
  vanished,
  replaced,
  read_failed,
  symbolic_link,
  symbolic_link_loop,
  dangling_link,
  special_file,
  pseudo_file_system,
  worker_lost,
};
inline constexpr std::size_t problem_kinds = 12;

/// Found by troupe's decoder, which then refuses other numbers.
[[nodiscard]] constexpr bool is_valid(problem_kind kind) noexcept {
  return static_cast<std::size_t>(kind) < problem_kinds;
}

[[nodiscard]] std::string_view to_string(problem_kind kind) noexcept;

/// The kind for a failed system call; `otherwise` if `error` says nothing special.
[[nodiscard]] problem_kind kind_of_errno(int error, problem_kind otherwise) noexcept;

/// Counts by kind, and a few names of each: the first in alphabetical order, so that they do not
/// depend on the order in which workers finish.
class problem_log {
 public:
  void add(problem_kind kind, const std::string& path);
  void add(const problem_log& other);

  [[nodiscard]] std::uint64_t count(problem_kind kind) const {
    return counts_[static_cast<std::size_t>(kind)];
  }
  [[nodiscard]] const std::set<std::string>& samples(problem_kind kind) const {
    return samples_[static_cast<std::size_t>(kind)];
  }
  bool operator==(const problem_log&) const = default;

 private:
  void add_sample(std::size_t kind, const std::string& path);

  std::array<std::uint64_t, problem_kinds> counts_{};
  std::array<std::set<std::string>, problem_kinds> samples_;
};

}  // namespace census
