// SPDX-License-Identifier: BSD-3-Clause

// What the templates of thread_pool.hpp call.

#include "futures/made_here.hpp"
#include "pools/option_checks.hpp"
#include "pools/thread/thread_core_impl.hpp"

#include <memory>
#include <utility>

namespace troupe::detail {

thread_core_ptr make_thread_pool(const thread_pool_options& options) {
  check_size_options("troupe::thread_pool", options);
  auto core = make_here<thread_core>(options);
  core->start();
  return core;
}

bool submit(const thread_core_ptr& pool, std::shared_ptr<thread_submission> submission,
            bool may_block, const deadline& until) {
  check_not_inherited(pool);
  return pool->submit(std::move(submission), may_block, until);
}
std::shared_ptr<room_turn> make_turn(const thread_core_ptr& pool) {
  return pool->make_turn();
}
void close(const thread_core_ptr& pool) {
  check_not_inherited(pool);
  pool->close();
}
void join(const thread_core_ptr& pool) {
  check_not_inherited(pool);
  pool->join();
}
void terminate(const thread_core_ptr& pool) {
  check_not_inherited(pool);
  pool->terminate(pool->options().grace);
}
void resize(const thread_core_ptr& pool, int workers) {
  check_not_inherited(pool);
  pool->resize(workers);
}
void end_pool(const thread_core_ptr& pool) noexcept {
  if (pool && !is_inherited(pool)) {
    pool->end();
  }
}
const options_ptr& defaults_of(const thread_core_ptr& pool) {
  return pool->task_defaults();
}
std::vector<worker_info> workers_of(const thread_core_ptr& pool) {
  // A lock of the pool may be held by a thread that a forked process does not have.
  return is_inherited(pool) ? std::vector<worker_info>{} : pool->workers();
}
pool_stats stats_of(const thread_core_ptr& pool) {
  return is_inherited(pool) ? pool_stats{} : pool->stats();
}

}  // namespace troupe::detail
