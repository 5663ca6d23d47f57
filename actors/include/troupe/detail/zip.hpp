// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <concepts>
#include <cstddef>
#include <iterator>
#include <ranges>
#include <tuple>
#include <utility>

namespace troupe::detail {

/// Has no end, by its type.
template <class Range>
inline constexpr bool is_endless =
    std::same_as<std::ranges::sentinel_t<Range>, std::unreachable_sentinel_t>;
// These wrap the sentinel of the range below them.
template <class View, class F>
inline constexpr bool is_endless<std::ranges::transform_view<View, F>> = is_endless<View>;
template <class View, class F>
inline constexpr bool is_endless<std::ranges::filter_view<View, F>> = is_endless<View>;
template <class View, std::size_t N>
inline constexpr bool is_endless<std::ranges::elements_view<View, N>> = is_endless<View>;
template <class View>
inline constexpr bool is_endless<std::ranges::join_view<View>> = is_endless<View>;
template <class Range>
inline constexpr bool is_endless<std::ranges::ref_view<Range>> = is_endless<Range>;
template <class Range>
inline constexpr bool is_endless<std::ranges::owning_view<Range>> = is_endless<Range>;

/// Several ranges walked side by side, up to the end of the shortest; once, and copying the values.
/// (std::views::zip is C++23, and gives references.)
template <std::ranges::view... Views>
class zip_view : public std::ranges::view_interface<zip_view<Views...>> {
 public:
  using value = std::tuple<std::ranges::range_value_t<Views>...>;
  /// All have a known size; none has an end.
  static constexpr bool all_sized = (std::ranges::sized_range<Views> && ...);
  static constexpr bool endless = (is_endless<Views> && ...);

  explicit zip_view(Views... views) : views_{std::move(views)...} {}

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = value;
    using difference_type = std::ptrdiff_t;

    iterator() = default;
    explicit iterator(std::tuple<Views...>& views)
        : iterators_{std::apply(
              [](auto&... each) { return std::tuple{std::ranges::begin(each)...}; }, views)},
          ends_{std::apply([](auto&... each) { return std::tuple{std::ranges::end(each)...}; },
                           views)} {}
    iterator(iterator&&) noexcept = default;
    iterator& operator=(iterator&&) noexcept = default;
    iterator(const iterator&) = delete;
    iterator& operator=(const iterator&) = delete;
    ~iterator() = default;

    value_type operator*() const {
      return std::apply([](const auto&... each) { return value_type{*each...}; }, iterators_);
    }
    iterator& operator++() {
      std::apply([](auto&... each) { (++each, ...); }, iterators_);
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.at_end(); }

   private:
    [[nodiscard]] bool at_end() const { return at_end(std::index_sequence_for<Views...>{}); }
    template <std::size_t... I>
    [[nodiscard]] bool at_end(std::index_sequence<I...>) const {
      return (... || (std::get<I>(iterators_) == std::get<I>(ends_)));
    }

    std::tuple<std::ranges::iterator_t<Views>...> iterators_;
    std::tuple<std::ranges::sentinel_t<Views>...> ends_;
  };

  iterator begin() { return iterator{views_}; }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::tuple<Views...> views_;
};

}  // namespace troupe::detail
