// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "scheduling/pool_size.hpp"

#include <algorithm>
#include <cstdint>

// How the workers of a pool are replaced, so that some are ready while the initializers of others
// run.
namespace troupe::detail {

/// How many tasks the `nth` worker (from 0) that a pool of `workers` ever started may be given;
/// `limit`: what the pool's option says.
///
/// Workers that begin together and get equal tasks would all be replaced at the same time. So the
/// limits of the first ones are evenly apart, and their successors, each with the whole limit, keep
/// that distance. Where a limit is a few tasks, the replacements overlap anyway, and all have it.
[[nodiscard]] constexpr std::uint64_t task_limit_of(std::uint64_t nth, int workers,
                                                    std::uint64_t limit) noexcept {
  const auto apart = static_cast<std::uint64_t>(std::max(workers, 1));
  constexpr std::uint64_t few = 4;
  return nth < apart && limit / few >= apart && limit != UINT64_MAX ? limit - limit / apart * nth
                                                                    : limit;
}

/// Whether a worker that is to be replaced goes on with tasks until its successor is ready. An old
/// one does. One that is too large would grow on, one that has run its number of tasks would run
/// more, and a surplus one has no successor.
[[nodiscard]] constexpr bool works_until_replaced(retirement why) noexcept {
  return why == retirement::age;
}

/// How many of the workers that have run all they may leave although too few are ready, the oldest
/// first: each waits for a successor, and there are no more of them than workers that start. Where
/// each worker runs few tasks, all that are ready may be used up before the next one is.
[[nodiscard]] constexpr int may_leave_early(int drained, int starting) noexcept {
  return std::max(drained - starting, 0);
}

/// How many of those that work until they are replaced may retire now. `ready`: all workers that
/// take tasks; `wanted`: how many there are to be.
[[nodiscard]] constexpr int may_be_let_go(int ready, int wanted) noexcept {
  return std::max(ready - wanted, 0);
}

}  // namespace troupe::detail
