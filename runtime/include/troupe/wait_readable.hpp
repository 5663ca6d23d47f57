// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"
#include "troupe/detail/futex.hpp"

#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <ranges>
#include <span>
#include <vector>

namespace troupe {

/// What `wait_readable` waits for: a descriptor's number, or what has one, as connections,
/// listeners and sentinels of processes. Does not keep it open.
class waitable {
 public:
  // Implicit, because {left, right, sentinel} is the point of it.
  /// A descriptor, such as the sentinel of a process.
  // NOLINTNEXTLINE(google-explicit-constructor)
  waitable(int number) noexcept : number_{number} {}
  /// The descriptor of a connection, a listener, or what else has a native_handle().
  ///
  /// @throws what native_handle throws: error{closed} for a closed handle.
  template <class T>
    requires requires(const T& thing) {
      { thing.native_handle() } -> std::same_as<int>;
    }
  // NOLINTNEXTLINE(google-explicit-constructor)
  waitable(const T& thing) : number_{thing.native_handle()} {}

  /// The descriptor's number.
  [[nodiscard]] int native_handle() const noexcept { return number_; }
  /// The same number: to compare a result with what was asked about.
  [[nodiscard]] friend bool operator==(const waitable&, const waitable&) = default;

 private:
  int number_;
};

namespace detail {

/// Positions of those that are readable or at their end; empty once the time is over.
///
/// @throws std::invalid_argument if one is no open descriptor.
[[nodiscard]] std::vector<std::size_t> wait_for_any(std::span<const waitable> things,
                                                    const deadline& until);

}  // namespace detail

/// Waits until at least one of `things` has something to read, or its end, and returns all that
/// have, in their order.
///
/// @follows Python's multiprocessing.connection.wait.
/// @returns nothing: the time was over first.
/// @blocks until then or for `timeout`; a negative one is over at once. Nothing to wait for waits
///   for the whole time.
/// @threads any.
/// @throws std::invalid_argument if one is no open descriptor; error{closed} for a closed handle;
///   error{resource_exhausted} if the system cannot wait for so many.
template <class Rep, class Period>
[[nodiscard]] std::vector<waitable> wait_readable(std::span<const waitable> things,
                                                  std::chrono::duration<Rep, Period> timeout) {
  std::vector<waitable> ready;
  for (const std::size_t at : detail::wait_for_any(things, detail::deadline_after(timeout))) {
    ready.push_back(things[at]);
  }
  return ready;
}

/// The same for a list: `wait_readable({left, right, sentinel}, 1s)`.
template <class Rep, class Period>
[[nodiscard]] std::vector<waitable> wait_readable(std::initializer_list<waitable> things,
                                                  std::chrono::duration<Rep, Period> timeout) {
  return wait_readable(std::span{things.begin(), things.size()}, timeout);
}

/// The same for a range of connections or numbers, of which copies are returned.
template <std::ranges::forward_range Range, class Rep, class Period>
  requires std::convertible_to<std::ranges::range_reference_t<Range>, waitable> &&
           std::copyable<std::ranges::range_value_t<Range>>
[[nodiscard]] std::vector<std::ranges::range_value_t<Range>> wait_readable(
    Range&& things, std::chrono::duration<Rep, Period> timeout) {
  std::vector<waitable> all;
  for (const auto& thing : things) {
    all.emplace_back(thing);
  }
  std::vector<std::ranges::range_value_t<Range>> ready;
  auto next = std::ranges::begin(things);
  std::size_t passed = 0;
  for (const std::size_t at : detail::wait_for_any(all, detail::deadline_after(timeout))) {
    std::ranges::advance(next, static_cast<std::ptrdiff_t>(at - passed));
    passed = at;
    ready.push_back(*next);
  }
  return ready;
}

}  // namespace troupe
