// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "troupe/task_options.hpp"

#include <concepts>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

// What the handles of every pool do with the engine behind them, whichever that is.
namespace troupe::detail {

class engine;

/// A number of workers, `pool(4)`. Not what `pool({})` means, which are options.
template <class T>
concept worker_count = std::integral<T> && !std::same_as<T, bool>;
/// As the options have it, which refuse what is out of range.
template <worker_count Count>
[[nodiscard]] constexpr int to_workers(Count count) noexcept {
  return std::in_range<int>(count) ? static_cast<int>(count) : std::numeric_limits<int>::max();
}
using engine_ptr = std::shared_ptr<engine>;
class room_turn;

// Of a pool that was moved from, all of these but `end_pool` throw error{no_state}. In a process that
// was forked from the pool's, the first four throw pool_closed.

/// Does nothing else.
void check_not_moved_from(const engine_ptr& pool);
void close(const engine_ptr& pool);
void join(const engine_ptr& pool);
void terminate(const engine_ptr& pool);
void resize(const engine_ptr& pool, int workers);
/// Terminates the pool unless it was closed and joined; for destructors. What that waits for, the
/// handle says.
void end_pool(const engine_ptr& pool) noexcept;
/// A place in the line for room in its full queue.
std::shared_ptr<room_turn> make_turn(const engine_ptr& pool);
const options_ptr& defaults_of(const engine_ptr& pool);
std::vector<worker_info> workers_of(const engine_ptr& pool);
pool_stats stats_of(const engine_ptr& pool);

}  // namespace troupe::detail
