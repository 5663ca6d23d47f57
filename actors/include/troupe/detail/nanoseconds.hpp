// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/detail/clock.hpp"

namespace troupe::detail {

/// Rounded up, and bounded, for the very long durations users write for "for ever".
template <class Rep, class Period>
[[nodiscard]] std::chrono::nanoseconds to_nanoseconds(std::chrono::duration<Rep, Period> time) {
  constexpr std::chrono::hours longest{24 * 365 * 100};
  // Compared in floating point: casting hours::max() to nanoseconds would overflow.
  if (std::chrono::duration<double>{time} > longest) {
    return longest;
  }
  return time > time.zero() ? std::chrono::ceil<std::chrono::nanoseconds>(time)
                            : std::chrono::nanoseconds{0};
}

}  // namespace troupe::detail
