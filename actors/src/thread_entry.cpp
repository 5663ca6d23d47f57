// SPDX-License-Identifier: BSD-3-Clause

// What the templates of thread_pool.hpp call.

#include "made_here.hpp"
#include "thread_core_impl.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace troupe::detail {

thread_core_ptr make_thread_pool(const thread_pool_options& options) {
  constexpr int most_workers = 4096;
  const auto refuse = [](const std::string& text) {
    throw std::invalid_argument{"troupe::thread_pool: " + text};
  };
  if (options.workers < 1 || options.workers > most_workers) {
    refuse(".workers = " + std::to_string(options.workers) + " is not between 1 and " +
           std::to_string(most_workers) + " (leave it out for usable_cpus())");
  }
  constexpr int most_concurrency = 65'536;
  if (options.concurrency < 1 || options.concurrency > most_concurrency) {
    refuse(".concurrency = " + std::to_string(options.concurrency) + " is not between 1 and " +
           std::to_string(most_concurrency));
  }
  if (options.min_workers || options.max_workers) {
    const int most = options.max_workers.value_or(options.workers);
    const int least = options.min_workers.value_or(1);
    if (least < 1 || most > most_workers || least > most) {
      refuse(".min_workers = " + std::to_string(least) + " and .max_workers = " +
             std::to_string(most) + " are not 1 <= min <= max <= " + std::to_string(most_workers));
    }
  }
  if (options.idle_timeout.count() < 0) {
    refuse(".idle_timeout = " + std::to_string(options.idle_timeout.count()) + " ms is negative");
  }
  if (options.grace.count() < 0) {
    refuse(".grace = " + std::to_string(options.grace.count()) + " ms is negative");
  }
  auto core = make_here<thread_core>(options);
  core->start();
  return core;
}

bool submit(const thread_core_ptr& pool, std::shared_ptr<thread_job> job, bool may_block,
            const deadline& until) {
  check_not_inherited(pool);
  return pool->submit(std::move(job), may_block, until);
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
