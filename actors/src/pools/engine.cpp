// SPDX-License-Identifier: BSD-3-Clause
#include "pools/engine.hpp"

#include "troupe/log.hpp"

#include "futures/made_here.hpp"

#include <string>

namespace troupe::detail {

namespace {

void check(const engine_ptr& pool) {
  check_not_moved_from(pool);
  check_not_inherited(pool);
}

}  // namespace

void check_not_moved_from(const engine_ptr& pool) {
  if (!pool) {
    throw error{errc::no_state, task_ran::no, "troupe: this pool was moved from"};
  }
}

void warn_of_dropped(const engine& pool, std::uint64_t items) {
  if (items > 0) {
    log(log_level::warning,
        pool.title() + " is destroyed before " + std::to_string(items) +
            (items == 1 ? " task" : " tasks") +
            " had begun, which its destructor cancels: wait for the futures, or call close() and "
            "join() before");
  }
}

void close(const engine_ptr& pool) {
  check(pool);
  pool->close();
}
void join(const engine_ptr& pool) {
  check(pool);
  pool->join();
}
void terminate(const engine_ptr& pool) {
  check(pool);
  pool->terminate();
}
void resize(const engine_ptr& pool, int workers) {
  check(pool);
  pool->resize(workers);
}
void end_pool(const engine_ptr& pool) noexcept {
  if (!pool) {
    return;
  }
  if (is_inherited(pool)) {
    keep_for_ever(pool);  // nothing of it is touched here
  } else {
    pool->end();
  }
}
std::shared_ptr<room_turn> make_turn(const engine_ptr& pool) {
  check(pool);
  return pool->make_turn();
}
const options_ptr& defaults_of(const engine_ptr& pool) {
  check(pool);
  return pool->task_defaults();
}
std::vector<worker_info> workers_of(const engine_ptr& pool) {
  check(pool);
  return pool->workers();
}
pool_stats stats_of(const engine_ptr& pool) {
  check(pool);
  return pool->stats();
}

}  // namespace troupe::detail
