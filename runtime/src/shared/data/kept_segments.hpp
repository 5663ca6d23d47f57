// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

namespace troupe::detail {

/// Segments that nothing in this process uses at the moment and that are kept for the next use: the
/// oldest first, within a number of bytes and of segments.
///
/// `Segment` has `id`, a number, and `capacity()`, bytes.
template <class Segment>
class kept_segments {
 public:
  kept_segments(std::size_t max_bytes, std::size_t max_count)
      : max_bytes_{max_bytes}, max_count_{max_count} {}

  /// The smallest one of at least `bytes` for which `is_free` is true; none that is so large that
  /// most of it would be wasted.
  template <class IsFree>
  [[nodiscard]] std::optional<Segment> take(std::size_t bytes, const IsFree& is_free) {
    constexpr std::size_t bearable = std::size_t{64} << 10;
    auto best = kept_.end();
    for (auto it = kept_.begin(); it != kept_.end(); ++it) {
      const std::size_t size = it->capacity();
      if (size >= bytes && size / 2 <= bytes + bearable &&
          (best == kept_.end() || size < best->capacity()) && is_free(*it)) {
        best = it;
      }
    }
    return take_at(best);
  }
  /// The one with that id.
  [[nodiscard]] std::optional<Segment> take_id(std::uint64_t id) {
    auto it = kept_.begin();
    while (it != kept_.end() && it->id != id) {
      ++it;
    }
    return take_at(it);
  }

  /// Keeps one more.
  ///
  /// @returns those that are kept no longer, maybe this one.
  [[nodiscard]] std::vector<Segment> put(Segment one) {
    std::vector<Segment> dropped;
    if (one.capacity() > max_bytes_) {
      dropped.push_back(std::move(one));
      return dropped;
    }
    bytes_ += one.capacity();
    kept_.push_back(std::move(one));
    while (bytes_ > max_bytes_ || kept_.size() > max_count_) {
      dropped.push_back(remove(kept_.begin()));
    }
    return dropped;
  }
  /// All of them.
  [[nodiscard]] std::vector<Segment> clear() noexcept {
    bytes_ = 0;
    return std::exchange(kept_, {});
  }

  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t size() const noexcept { return kept_.size(); }

 private:
  using iterator = typename std::vector<Segment>::iterator;

  Segment remove(iterator at) {
    Segment found{std::move(*at)};
    bytes_ -= found.capacity();
    kept_.erase(at);
    return found;
  }
  std::optional<Segment> take_at(iterator at) {
    return at == kept_.end() ? std::nullopt : std::optional<Segment>{remove(at)};
  }

  std::size_t max_bytes_;
  std::size_t max_count_;
  std::size_t bytes_ = 0;
  std::vector<Segment> kept_;
};

}  // namespace troupe::detail
