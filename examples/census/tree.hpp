// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "problem.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

namespace census {

/// The regular files below a directory, found while they are asked for: an input range of paths.
///
/// Links are never followed, except that the directory itself may be one. One directory is open
/// at a time, however deep the tree; what waits in memory is the names of directories to come.
class tree {
 public:
  explicit tree(std::filesystem::path root);

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = std::string;
    using difference_type = std::ptrdiff_t;

    iterator() = default;
    explicit iterator(tree* walk) : walk_{walk} {}
    const std::string& operator*() const { return *walk_->current_; }
    iterator& operator++() {
      walk_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.at_end(); }

   private:
    [[nodiscard]] bool at_end() const { return !walk_->current_; }

    tree* walk_ = nullptr;
  };

  /// Once only.
  iterator begin() {
    advance();
    return iterator{this};
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  /// Complete after the last file.
  [[nodiscard]] std::uint64_t directories() const { return directories_; }
  [[nodiscard]] const problem_log& problems() const { return problems_; }

 private:
  void advance();
  bool open_next_directory();
  /// Keeps a file, remembers a directory for later, reports everything else.
  void look_at(const std::filesystem::directory_entry& entry);
  void report_link(const std::filesystem::path& link);

  std::vector<std::filesystem::path> waiting_;
  std::filesystem::path directory_;
  std::filesystem::directory_iterator entries_;
  std::optional<std::string> current_;
  std::uint64_t directories_ = 0;
  problem_log problems_;
};

}  // namespace census
