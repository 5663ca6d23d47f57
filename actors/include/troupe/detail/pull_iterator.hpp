// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <iterator>

namespace troupe::detail {

/// The iterator of a range that has one element at a time, once for each position. Its range is
/// asked for `advance()`, `take()` and `at_end()`, and befriends it.
template <class Range, class Value>
class pull_iterator {
 public:
  using iterator_concept = std::input_iterator_tag;
  using value_type = Value;
  using difference_type = std::ptrdiff_t;

  pull_iterator() = default;
  explicit pull_iterator(Range* range) : range_{range} {}
  /// What the range says of its elements: they may be moved out, or throw; going on with ++
  /// afterwards is fine.
  Value operator*() const { return range_->take(); }
  pull_iterator& operator++() {
    range_->advance();
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const pull_iterator& it, std::default_sentinel_t) { return it.at_end(); }

 private:
  [[nodiscard]] bool at_end() const { return range_->at_end(); }

  Range* range_ = nullptr;
};

}  // namespace troupe::detail
